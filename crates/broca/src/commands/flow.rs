//! `broca flow`: what came in, went out and failed lately.

use std::{collections::BTreeMap, time::Duration};

use broca_admin::operations::{ShowFlow, Span, WhichFlow};
use broca_store::{Flow, FlowPoint};

use super::send::duration;
use crate::{
    app::App,
    failure::Failure,
    output::{pairs, table},
};

#[derive(Debug, clap::Args)]
#[command(after_help = "--json has it by time, too. It is cheap enough to be asked every second.")]
pub(crate) struct Args {
    /// How far back
    #[arg(long, default_value = "10m", value_parser = duration, value_name = "TIME")]
    window: Duration,
    /// How long each piece of that is [default: a sixtieth]
    #[arg(long, value_parser = duration, value_name = "TIME")]
    bucket: Option<Duration>,
}

pub(crate) async fn run(app: &App, args: &Args) -> Result<(), Failure> {
    let request = WhichFlow { window: Some(Span(args.window)), bucket: args.bucket.map(Span) };
    let flow = app.operate::<ShowFlow>(&app.deps().await?, &request).await?;
    app.output.result(&flow, || text(&flow))
}

fn text(flow: &Flow) -> String {
    let mut sums: BTreeMap<(&str, &str), [i64; 4]> = BTreeMap::new();
    for FlowPoint { instance, agent, came_in, went_out, failed, .. } in &flow.points {
        let sum = sums.entry((instance, agent)).or_default();
        for (sum, more) in sum.iter_mut().zip([came_in, went_out, failed]) {
            *sum += more;
        }
    }
    for turns in &flow.in_turn {
        sums.entry((&turns.instance, &turns.agent)).or_default()[3] += turns.turns;
    }
    let row = |((instance, agent), [came_in, went_out, failed, turns]): (&(&str, &str), &[i64; 4])| {
        let numbers = [came_in, turns, went_out, failed].map(ToString::to_string);
        let [came_in, turns, went_out, failed] = numbers;
        [(*instance).to_owned(), (*agent).to_owned(), came_in, turns, went_out, failed]
    };
    let millis = |millis: Option<i64>| millis.map_or_else(|| "-".to_owned(), |millis| format!("{millis} ms"));
    let mut text = table(["instance", "agent", "in", "in turn", "out", "failed"], sums.iter().map(row));
    let times =
        [("answered within, half", flow.answered_in_ms_p50), ("answered within, 95 %", flow.answered_in_ms_p95)];
    text.push_str("\n\n");
    text.push_str(&pairs(&times.map(|(name, time)| [name.to_owned(), millis(time)])));
    if flow.whole_since > flow.since {
        let since = flow.now.since(flow.whole_since).as_secs();
        text.push_str(&format!("\nthere is more than one look counts: whole for the last {since} s"));
    }
    text
}
