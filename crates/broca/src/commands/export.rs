//! `broca export`: the archive, one message a line.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use broca_admin::{
    export::{self, Page},
    holds,
};
use broca_core::{ConversationId, MessageId};
use broca_store::{ExportFilter, Store};

use super::moment::{Moment, moment};
use crate::{
    app::App,
    failure::{Code, Failure},
};

#[derive(Debug, clap::Args)]
#[command(
    about = "Writes messages with all that happened to them, one JSON object a line, the oldest first",
    after_help = "Exit code 7: it was cut short, and what was written is not all. A file is called FILE.part until it is whole."
)]
pub(crate) struct Args {
    /// Accepted since then: 2h, 7d, or 2026-11-23T08:00:00Z
    #[arg(long, value_parser = moment, value_name = "TIME")]
    since: Option<Moment>,
    /// Accepted before then [default: now]
    #[arg(long, value_parser = moment, value_name = "TIME")]
    until: Option<Moment>,
    /// The person, by our id or as PLATFORM/ID
    #[arg(long, value_name = "WHO")]
    user: Option<String>,
    /// The platform, e.g. telegram
    #[arg(long)]
    platform: Option<String>,
    #[arg(long, value_name = "ID")]
    conversation: Option<ConversationId>,
    /// Where it is written; it must not be there yet [default: standard output]
    #[arg(long = "to", value_name = "FILE")]
    file: Option<PathBuf>,
}

/// How often a person hears how far it is.
const TELL_EVERY: Duration = Duration::from_secs(2);

pub(crate) async fn run(app: &App, args: &Args) -> Result<(), Failure> {
    let store = app.store().await?;
    store.check_migrated().await?;
    let filter = args.filter(&store).await?;
    let mut target = Target::open(args.file.as_deref())?;
    let mut written = 0_u64;
    match app.shutdown.begin.run_until_cancelled(write_all(app, &store, &filter, &mut target, &mut written)).await {
        Some(Ok(())) => {
            target.complete()?;
            app.note(&format!("wrote {written} messages"));
            Ok(())
        }
        Some(Err(failure)) if written == 0 => Err(failure),
        Some(Err(failure)) => Err(cut_short(written, &failure.message)),
        None => Err(cut_short(written, "interrupted")),
    }
}

fn cut_short(written: u64, why: &str) -> Failure {
    Failure::new(Code::Partial, format!("cut short after {written} messages: {why}"))
        .hint("run it again: it begins anew")
}

impl Args {
    async fn filter(&self, store: &Store) -> Result<ExportFilter, Failure> {
        let now = store.now().await?;
        let user = match &self.user {
            Some(name) => Some(holds::person(store, name).await?),
            None => None,
        };
        Ok(ExportFilter {
            since: self.since.map(|moment| moment.at(now)),
            until: Some(self.until.map_or(now, |moment| moment.at(now))),
            user,
            platform: self.platform.clone(),
            conversation: self.conversation,
        })
    }
}

async fn write_all(
    app: &App,
    store: &Store,
    filter: &ExportFilter,
    target: &mut Target,
    written: &mut u64,
) -> Result<(), Failure> {
    let (mut after, mut told): (Option<MessageId>, _) = (None, Instant::now());
    loop {
        let Page { lines, next } = export::page(store, filter, after).await?;
        for line in &lines {
            let line = serde_json::to_string(line).map_err(anyhow::Error::from)?;
            writeln!(target.writer, "{line}")?;
            *written += 1;
        }
        target.writer.flush()?;
        let Some(next) = next else { return Ok(()) };
        after = Some(next);
        if told.elapsed() >= TELL_EVERY {
            told = Instant::now();
            app.note(&format!("{written} messages so far"));
        }
    }
}

/// Standard output, or a file that gets its name once it is whole.
struct Target {
    writer: Box<dyn Write + Send>,
    file: Option<(PathBuf, PathBuf)>,
}

impl Target {
    fn open(file: Option<&Path>) -> Result<Self, Failure> {
        let Some(path) = file else {
            return Ok(Self { writer: Box::new(BufWriter::new(io::stdout())), file: None });
        };
        if path.exists() {
            return Err(Failure::new(Code::Conflict, format!("{} is there already", path.display()))
                .hint("name another file, or move it away"));
        }
        let part = PathBuf::from(format!("{}.part", path.display()));
        let writer = Box::new(BufWriter::new(File::create(&part)?));
        Ok(Self { writer, file: Some((part, path.to_owned())) })
    }

    fn complete(mut self) -> Result<(), Failure> {
        self.writer.flush()?;
        if let Some((part, path)) = self.file {
            File::open(&part)?.sync_all()?;
            std::fs::rename(part, path)?;
        }
        Ok(())
    }
}
