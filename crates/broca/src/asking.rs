//! The last question before something is done that cannot be taken back.

use std::io::{self, IsTerminal, Write};

use crate::{
    app::App,
    failure::{Code, Failure},
};

impl App {
    /// Has the person at this terminal say yes to `would`, unless they did on the command line.
    ///
    /// # Errors
    /// They say no; or nobody can be asked.
    pub(crate) fn confirmed(&self, yes: bool, would: &str) -> Result<(), Failure> {
        if yes {
            return Ok(());
        }
        let place = self.context.as_ref().map(|name| format!(" in context {name}")).unwrap_or_default();
        let here = io::stdin().is_terminal() && io::stderr().is_terminal();
        if !here || self.output.is_json() {
            return Err(Failure::new(Code::Usage, format!("nothing was done; it would {would}{place}"))
                .hint("--yes does it; --dry-run only looks"));
        }
        eprint!("It would {would}{place}. Go on? [y/N] ");
        io::stderr().flush()?;
        let mut answer = String::new();
        io::stdin().read_line(&mut answer)?;
        if matches!(answer.trim().to_lowercase().as_str(), "y" | "yes") {
            return Ok(());
        }
        Err(Failure::new(Code::Conflict, "nothing was done"))
    }
}
