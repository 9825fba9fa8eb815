//! The page and the widget in a real Chromium, which is driven by chromedriver. `tests/run` installs both where they are
//! missing. With `BROCA_SCREENSHOTS=folder`, what is seen on the way is kept there.

mod connection;
mod conversation;
mod hostile;
mod looks;
mod scene;
mod widget;
