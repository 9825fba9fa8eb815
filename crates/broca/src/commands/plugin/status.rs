//! `broca plugin status`: how each instance stands.

use broca_admin::operations::{InstanceNow, ListInstances, WhichInstances};

use crate::{app::App, failure::Failure, output::table};

pub(super) async fn run(app: &App) -> Result<(), Failure> {
    let now = app.operate::<ListInstances>(&app.deps().await?, &WhichInstances {}).await?;
    app.output.result(&now, || {
        table(["instance", "enabled", "state", "pid", "restarts", "accounts", "detail"], now.items.iter().map(line))
    })
}

fn line(now: &InstanceNow) -> [String; 7] {
    let supervised = now.supervised.as_ref();
    let number = |number: Option<u32>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
    let detail = now.problem.clone().or_else(|| supervised?.detail.clone()).unwrap_or_default();
    let accounts = now.accounts.iter().map(|account| format!("{}/{}", account.platform, account.account));
    [
        now.instance.to_string(),
        if now.enabled { "yes" } else { "no" }.to_owned(),
        supervised.map_or("unsupervised", |supervised| supervised.standing.as_str()).to_owned(),
        number(supervised.and_then(|supervised| supervised.pid)),
        number(supervised.map(|supervised| supervised.restarts)),
        accounts.collect::<Vec<_>>().join(", "),
        detail,
    ]
}
