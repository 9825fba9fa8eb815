//! `broca plugin new`: the folder of a new plugin.

use std::path::PathBuf;

use broca_plugin_exec::template::{self, Language, NotMade};
use clap::ValueEnum;

use crate::{
    app::App,
    failure::{Code, Failure},
};

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Lang {
    Python,
    Typescript,
    Rust,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Lower-case letters, digits and '-'; the folder is named so, too
    name: String,
    /// What it is written in
    #[arg(long, value_enum)]
    lang: Lang,
    /// Where its folder is made [default: here]
    #[arg(long, value_name = "DIR", default_value = ".", hide_default_value = true)]
    dir: PathBuf,
}

pub(super) fn run(app: &App, args: &Args) -> Result<(), Failure> {
    if let Some(kind) = app.kinds().named(&args.name) {
        let message = format!("there is a plugin '{}' already ({})", args.name, kind.source());
        return Err(Failure::new(Code::Conflict, message).hint("choose another name"));
    }
    let language = match args.lang {
        Lang::Python => Language::Python,
        Lang::Typescript => Language::Typescript,
        Lang::Rust => Language::Rust,
    };
    let folder = args.dir.join(&args.name);
    let files = template::write(language, &args.name, &folder)?;
    let first = [format!("cd {}", folder.display())].into_iter();
    let steps = first.chain(language.first_steps().iter().map(|step| (*step).to_owned()));
    let next: Vec<String> = steps.chain(["broca plugin test .", "broca emulate ."].map(str::to_owned)).collect();
    let made = serde_json::json!({
        "plugin": args.name, "language": language.as_str(), "folder": folder, "files": files, "next": next,
    });
    app.output
        .result(&made, || format!("{} is a plugin in {language}. Next:\n\n  {}", folder.display(), next.join("\n  ")))
}

impl From<NotMade> for Failure {
    fn from(error: NotMade) -> Self {
        let code = match error {
            NotMade::Name(_) => Code::Usage,
            NotMade::Exists(_) => Code::Conflict,
            NotMade::Io(..) => Code::Failure,
        };
        Self::new(code, error.to_string())
    }
}
