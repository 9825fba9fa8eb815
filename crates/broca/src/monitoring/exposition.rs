//! The metrics of this process as text that Prometheus reads.

use broca_admin::janitor::OnDuty;
use broca_core::metric::{self, Kind, Metric, Role};
use metrics::{Unit, counter, gauge};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use crate::{
    failure::{Blame, Code, Failure},
    run_file::ProcessEntry,
};

#[derive(Clone, Debug)]
pub(super) struct Exposition {
    handle: PrometheusHandle,
    role: Role,
    on_duty: OnDuty,
}

impl Exposition {
    /// From now on everything that is counted in this process is kept.
    pub(super) fn install(role: Role, name: &str, on_duty: OnDuty) -> Result<Self, Failure> {
        const WHAT: &str = "cannot start the metrics";
        let mut builder = PrometheusBuilder::new();
        for Metric { name, kind, .. } in metric::ALL.iter().filter(|metric| !metric.kind.buckets().is_empty()) {
            let matcher = Matcher::Full((*name).to_owned());
            builder = builder.set_buckets_for_metric(matcher, kind.buckets()).blame(Code::Failure, WHAT)?;
        }
        let handle = builder.install_recorder().blame(Code::Failure, WHAT)?;
        metric::ALL.iter().for_each(describe);
        let (process, role_name, version) = (name.to_owned(), role.as_str(), env!("CARGO_PKG_VERSION"));
        gauge!(metric::BUILD_INFO.name, "process" => process, "role" => role_name, "version" => version).set(1.0);
        Ok(Self { handle, role, on_duty })
    }

    pub(super) fn text(&self) -> String {
        let on_duty = self.on_duty.get();
        shown(&self.handle.render(), |metric| metric.by.contains(&self.role) && (on_duty || !metric.one_at_a_time))
    }
}

fn describe(metric: &Metric) {
    let help = metric.help.trim();
    match metric.kind {
        Kind::Counter => metrics::describe_counter!(metric.name, help),
        Kind::Gauge => metrics::describe_gauge!(metric.name, help),
        Kind::Seconds | Kind::ShortSeconds => metrics::describe_histogram!(metric.name, Unit::Seconds, help),
        Kind::Sizes => metrics::describe_histogram!(metric.name, help),
    }
}

/// Leaves out what this process has no business with: the broker connection that `broca up` has for a moment at its
/// start, and what it found out about the whole deployment before another process took that over.
fn shown(text: &str, is_ours: impl Fn(&Metric) -> bool) -> String {
    let mut shows = true;
    let lines = text.lines().filter(|line| {
        let comment = line.strip_prefix("# HELP ").or_else(|| line.strip_prefix("# TYPE "));
        if let Some(name) = comment.and_then(|comment| comment.split(' ').next()) {
            shows = metric::ALL.iter().find(|metric| metric.name == name).is_none_or(&is_ours);
        }
        shows && !line.is_empty()
    });
    lines.flat_map(|line| [line, "\n"]).collect()
}

/// How the children of `broca up` stand.
pub(super) fn show_children(children: &[ProcessEntry]) {
    for child in children {
        gauge!(metric::CHILD_UP.name, "process" => child.name.clone()).set(f64::from(child.ready));
        counter!(metric::CHILD_RESTARTS.name, "process" => child.name.clone()).absolute(u64::from(child.restarts));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_shows_what_is_its_own_and_what_nobody_knows() {
        let text = "# HELP broca_child_up x\n# TYPE broca_child_up gauge\nbroca_child_up{process=\"a\"} 1\n\n\
                    # TYPE broca_leases_held gauge\nbroca_leases_held 3\n\n# TYPE other gauge\nother 1\n";
        assert_eq!(
            shown(text, |metric| metric.by.contains(&Role::Worker)),
            "# TYPE broca_leases_held gauge\nbroca_leases_held 3\n# TYPE other gauge\nother 1\n"
        );
        let up = shown(text, |metric| metric.by.contains(&Role::Up));
        assert!(up.starts_with("# HELP broca_child_up") && !up.contains("leases"), "{up}");
    }
}
