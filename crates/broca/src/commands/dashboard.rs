//! `broca dashboard`: the table of operations for people with a browser.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use super::send::duration;
use crate::{
    app::App,
    dashboard::{self, Doorman},
    failure::{Code, Failure},
    serving::{self, PATIENCE},
    supervisor::announce_ready,
};

/// A session that lives longer than this is a password on somebody's screen.
const LONGEST_SESSION: Duration = Duration::from_secs(7 * 24 * 3_600);

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Who logs in shows a token: `broca token add NAME --access read|operate|admin`, with --contents for those who may\n\
    read what people and agents wrote. On this machine alone, and while there is no token, everybody may look without one,\n\
    at everything but what was written."
)]
pub(crate) struct Args {
    /// Where to listen
    #[arg(long, default_value = "127.0.0.1:9480", value_name = "ADDRESS")]
    listen: SocketAddr,
    /// A name that it is reached by, besides those of this machine itself, e.g. broca.example; may be repeated
    #[arg(long = "allow-host", value_name = "HOST")]
    hosts: Vec<String>,
    /// A proxy before it speaks TLS: cookies are for TLS alone
    #[arg(long)]
    behind_tls: bool,
    /// How long a login is good for
    #[arg(long, default_value = "8h", value_parser = duration, value_name = "TIME")]
    session: Duration,
}

pub(crate) async fn run(app: &App, args: &Args) -> Result<(), Failure> {
    if args.session.is_zero() || args.session > LONGEST_SESSION {
        return Err(Failure::new(Code::Usage, "a session is good for at most 7d, and for some time"));
    }
    let deps = Arc::new(app.patient_deps(PATIENCE).await?);
    let hosts = serving::reached_by(args.listen, &args.hosts)?;
    let here_alone = args.listen.ip().is_loopback() && args.hosts.is_empty() && !args.behind_tls;
    let secure = args.behind_tls || !args.listen.ip().is_loopback();
    let doorman = Arc::new(Doorman::new(deps.clone(), hosts, here_alone, secure, args.session)?);
    let listener = serving::listen(args.listen).await?;
    let address = listener.local_addr()?;
    tracing::info!(%address, "the dashboard is served");
    app.note(&format!("the dashboard is served at http://{address}/"));
    announce_ready(None);
    let service = dashboard::router(doorman).into_make_service_with_connect_info::<SocketAddr>();
    let begin = app.shutdown.begin.clone();
    Ok(axum::serve(listener, service).with_graceful_shutdown(begin.cancelled_owned()).await?)
}
