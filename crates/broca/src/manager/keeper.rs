//! One instance: what it is told, what it does, and what is said of it.

use std::{sync::Arc, time::Duration};

use broca_admin::control::{self, Action, Answer, Control, Order, Standing, Supervised};
use broca_bus::{Bus, Known, SettingsFeed};
use broca_core::{Instance, subject};
use tokio::{sync::watch, time::Instant};

use crate::{
    app::App,
    commands::nats::ensure_consumer,
    run_file::ProcessEntry,
    supervisor::{ChildSpec, ChildStatus, Lines, Member, Stop},
};

/// How long a process may take to say that it is ready, before an order to start it counts as failed.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long the start waits for a bucket that cannot be read.
const READ_PATIENCE: Duration = Duration::from_secs(10);
/// A process that ends within this time after it was ready did not start well.
const STAYS: Duration = Duration::from_secs(1);
/// So many ends in a row are a loop.
const LOOP: u32 = 3;

/// What is known of an instance before it is loaded.
#[derive(Debug)]
pub(crate) struct PluginSpec {
    pub(crate) instance: Instance,
    /// By the settings.
    pub(crate) enabled: bool,
    pub(crate) child: ChildSpec,
}

/// An instance as others see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) entry: ProcessEntry,
    answer: Option<Answer>,
}

impl Kept {
    pub(super) fn new(instance: &Instance) -> Self {
        let entry = ProcessEntry {
            name: instance.to_string(),
            pid: None,
            ready: false,
            restarts: 0,
            metrics: None,
            standing: Some(Standing::Starting),
            detail: None,
        };
        Self { entry, answer: None }
    }

    pub(super) fn is_settled(&self) -> bool {
        self.entry.standing != Some(Standing::Starting)
    }

    pub(super) fn is_wanted(&self) -> bool {
        use Standing::{Broken, Disabled, Stopped, Unloaded};
        !matches!(self.entry.standing, Some(Disabled | Unloaded | Stopped | Broken))
    }

    fn supervised(&self) -> Supervised {
        Supervised {
            standing: self.entry.standing.unwrap_or(Standing::Starting),
            detail: self.entry.detail.clone(),
            pid: self.entry.pid,
            restarts: self.entry.restarts,
            answer: self.answer.clone(),
        }
    }
}

/// What an instance does.
#[derive(Debug)]
enum Phase {
    /// It does not run, for this reason.
    Idle(Standing, Option<String>),
    Runs(Member),
}

pub(super) struct Keeper {
    app: Arc<App>,
    bus: Bus,
    spec: PluginSpec,
    lines: Lines,
    all: Stop,
    grace: Duration,
    phase: Phase,
    loaded: bool,
    /// Of this keeper's life, over all its processes.
    restarts: u32,
    answer: Option<Answer>,
    kept: watch::Sender<Kept>,
}

impl Keeper {
    pub(super) fn new(
        app: Arc<App>,
        bus: Bus,
        spec: PluginSpec,
        lines: Lines,
        all: Stop,
        grace: Duration,
        kept: watch::Sender<Kept>,
    ) -> Self {
        let phase = Phase::Idle(Standing::Starting, None);
        Self { app, bus, spec, lines, all, grace, phase, loaded: false, restarts: 0, answer: None, kept }
    }

    pub(super) async fn run(mut self) {
        let begin = self.all.begin.clone();
        let instance = self.spec.instance.clone();
        let (bus, kept) = (self.bus.clone(), self.kept.subscribe());
        let telling = tokio_util::task::AbortOnDropHandle::new(tokio::spawn(tell(bus, instance, kept)));
        if begin.run_until_cancelled(self.keep()).await.is_none() {
            tracing::debug!(plugin = %self.spec.instance, "told to stop with the others");
        }
        drop(telling);
        self.halt(Standing::Stopped).await;
    }

    async fn keep(&mut self) {
        let mut orders = self.bus.follow_setting(&subject::control_key(&self.spec.instance));
        let control = self.first_control(&mut orders).await;
        // An order from before this start is over; whether it is enabled still holds.
        let mut last = control.order.map(|order| order.id);
        if control.enabled.unwrap_or(self.spec.enabled) {
            if let Err(why) = self.begin().await {
                tracing::error!(plugin = %self.spec.instance, why, "this plugin is skipped; the others run");
            }
        } else {
            self.phase = Phase::Idle(Standing::Disabled, None);
        }
        loop {
            self.show();
            let known = self.next(&mut orders).await;
            let control = self.control(&known);
            let Some(order) = control.order.clone().filter(|order| last.as_ref() != Some(&order.id)) else { continue };
            last = Some(order.id.clone());
            self.carry_out(order, control.enabled.unwrap_or(self.spec.enabled)).await;
        }
    }

    /// Whether it is enabled should be known before it starts; a bucket that cannot be read for long stops nobody.
    async fn first_control(&self, orders: &mut SettingsFeed) -> Control {
        let mut known = orders.first().await;
        let deadline = Instant::now() + READ_PATIENCE;
        while known.entry.is_none()
            && let Ok(next) = tokio::time::timeout_at(deadline, orders.changed()).await
        {
            known = next;
        }
        self.control(&known)
    }

    /// Waits for the next word of an operator, and shows meanwhile what the process does.
    async fn next(&mut self, orders: &mut SettingsFeed) -> Known {
        loop {
            tokio::select! {
                known = orders.changed() => return known,
                () = changed(&mut self.phase) => self.show(),
            }
        }
    }

    fn control(&self, known: &Known) -> Control {
        let instance = &self.spec.instance;
        if let Some(trouble) = &known.trouble {
            tracing::warn!(plugin = %instance, trouble, "orders for this plugin cannot be read now");
        }
        let value = known.entry.as_ref().and_then(|entry| entry.value.as_ref());
        let decoded = value.map(|bytes| control::decode(&subject::control_key(instance), bytes)).transpose();
        decoded.map(Option::unwrap_or_default).unwrap_or_else(|error| {
            tracing::error!(plugin = %instance, %error, "an order for this plugin is not understood, left out");
            Control::default()
        })
    }

    async fn carry_out(&mut self, order: Order, enabled: bool) {
        let (plugin, action) = (self.spec.instance.to_string(), order.action.as_str());
        tracing::info!(plugin, action, actor = order.actor, "an operator's order");
        let done = match order.action {
            Action::Enable => self.begin_well().await,
            Action::Disable => self.end(Standing::Disabled).await,
            Action::Unload => self.end(Standing::Unloaded).await,
            _ if !enabled => Err(format!("it is disabled: `broca plugin enable {plugin}` first")),
            Action::Load => self.load(),
            Action::Start => self.begin_well().await,
            Action::Stop => {
                self.halt(Standing::Stopped).await;
                Ok(())
            }
            Action::Restart => {
                self.halt(Standing::Stopped).await;
                self.begin_well().await
            }
        };
        if let Err(why) = &done {
            tracing::warn!(plugin, action, why, "the order could not be carried out");
        }
        self.answer = Some(Answer { order: order.id, refused: done.err() });
    }

    /// Looks for what it runs, and whether it may.
    fn load(&mut self) -> Result<(), String> {
        if matches!(self.phase, Phase::Runs(_)) {
            return Ok(());
        }
        let checked = self.app.loadable(&self.spec.instance).map_err(|failure| failure.message);
        self.loaded = checked.is_ok();
        self.phase = match &checked {
            Ok(()) => Phase::Idle(Standing::Stopped, None),
            Err(why) => Phase::Idle(Standing::Broken, Some(why.clone())),
        };
        checked
    }

    /// Loads it if need be, starts it, and waits until it runs. One that does not is tried further.
    async fn begin(&mut self) -> Result<(), String> {
        if let Phase::Runs(member) = &self.phase
            && member.status().ready
        {
            return Ok(());
        }
        if !matches!(self.phase, Phase::Runs(_)) {
            if !self.loaded {
                self.load()?;
            }
            ensure_consumer(&self.app, &self.bus, &self.spec.instance).await.map_err(|failure| failure.message)?;
            self.phase = Phase::Runs(Member::start(self.spec.child.clone(), self.lines, &self.all));
        }
        self.show();
        let deadline = Instant::now() + PATIENCE;
        let Phase::Runs(member) = &mut self.phase else { return Ok(()) };
        member.ready(deadline).await.map_err(|error| error.to_string())
    }

    /// The same for an operator, who is told of a process that ends as soon as it works.
    async fn begin_well(&mut self) -> Result<(), String> {
        self.begin().await?;
        let Phase::Runs(member) = &mut self.phase else { return Ok(()) };
        member.stays(STAYS).await.map_err(|error| error.to_string())
    }

    async fn end(&mut self, standing: Standing) -> Result<(), String> {
        self.halt(standing).await;
        self.loaded = false;
        Ok(())
    }

    async fn halt(&mut self, standing: Standing) {
        let before = std::mem::replace(&mut self.phase, Phase::Idle(standing, None));
        if let Phase::Runs(member) = before {
            self.restarts += member.status().restarts;
            member.stop(self.grace, &self.all.kill).await;
        }
    }

    fn show(&self) {
        let mut kept = Kept::new(&self.spec.instance);
        kept.answer = self.answer.clone();
        kept.entry.restarts = self.restarts;
        match &self.phase {
            Phase::Idle(standing, detail) => {
                (kept.entry.standing, kept.entry.detail) = (Some(*standing), detail.clone());
            }
            Phase::Runs(member) => {
                let status = member.status();
                kept.entry = ProcessEntry { restarts: self.restarts + status.restarts, ..member.entry() };
                kept.entry.standing = Some(standing(&status));
                kept.entry.detail = status.last_end.filter(|_| status.failures > 0);
            }
        }
        self.kept.send_if_modified(|shown| {
            let news = *shown != kept;
            *shown = kept;
            news
        });
    }
}

fn standing(status: &ChildStatus) -> Standing {
    match status {
        status if status.failures >= LOOP => Standing::CrashLooping,
        status if status.ready => Standing::Running,
        status if status.failures > 0 => Standing::Restarting,
        _ => Standing::Starting,
    }
}

async fn changed(phase: &mut Phase) {
    match phase {
        Phase::Runs(member) => member.changed().await,
        Phase::Idle(..) => std::future::pending().await,
    }
}

/// Between two tries to say how an instance stands.
const TELL_AGAIN: Duration = Duration::from_secs(1);

/// Says in the bucket how the instance stands, whenever that changes. While the broker is away, nobody could ask.
async fn tell(bus: Bus, instance: Instance, mut kept: watch::Receiver<Kept>) {
    loop {
        let supervised = kept.borrow_and_update().supervised();
        if let Err(error) = control::report(&bus, &instance, &supervised).await {
            tracing::debug!(plugin = %instance, %error, "how the plugin stands is not said yet");
            tokio::time::sleep(TELL_AGAIN).await;
            continue;
        }
        if kept.changed().await.is_err() {
            return;
        }
    }
}
