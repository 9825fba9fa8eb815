//! The table of operations: everything that an operator can ask or have done, once.
//!
//! An operation is a typed request, a typed answer and one function. The command line, the HTTP server and the MCP
//! server are thin callers of [`perform`] or, where the request is JSON, of an [`Entry`]: the same rights, the same
//! audit, the same answer. To add one, write a file here and add a line to [`table::ALL`].

mod access;
mod acting;
mod active;
mod agents;
mod audit;
mod backlog;
mod call;
mod caller;
mod check;
pub mod confirm;
mod conversations;
mod dead_letters;
mod deps;
mod error;
mod flow;
mod holds;
mod link;
mod listing;
mod messages;
mod metrics;
mod modes;
mod pairing;
mod person;
mod plugins;
mod preferences;
mod queue;
mod queues;
mod redaction;
mod replays;
mod retention;
mod routes;
mod search;
mod spoken;
mod status;
pub mod table;
mod targets;
pub mod tokens;
mod users;
mod which;
mod workers;

use std::future::Future;

use broca_core::rights::Access;
use broca_store::Via;
use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};

pub use self::{
    access::{
        AddAdmin, AddIgnored, AllowPerson, DenyPerson, ListIgnored, ListRules, ListedRules, NewRuleOn, RemoveIgnored,
        RemoveRules, RemovedRules, WhichGone, WhichRules,
    },
    acting::{Acting, perform},
    active::{ActivateUser, DeactivateUser, WhoseActivity},
    agents::{
        AskAgents, AskedAgents, ListAgents, ListedAgent, ListedAgents, ShowAgent, ShownAgent, WhichAgent, WhichAgents,
    },
    audit::{ListActs, ListedActs, WhichActs},
    backlog::{
        AnswerBacklog, ApplyBacklog, CatchUpBacklog, Fate, LetGo, LetGoBacklog, PlannedBacklog, PreviewBacklog,
        ShowBacklog, SkipBacklog, WaitingNow, WhichFate, WhichPaced, WhichPlan, WhichSkipped, WhichWaiting,
    },
    call::Entry,
    caller::Caller,
    check::{CheckAll, WhichCheck},
    conversations::{BusyNow, ListBusy, ShowConversation, ShownTalk, WhichBusy, WhichTalk},
    dead_letters::{
        ListLetters, PurgeLetters, ResolveLetters, ShowLetter, WhichClosed, WhichCopies, WhichLetter, WhichLetters,
        WhichPage, WhichResolved,
    },
    deps::{Configured, Deps, Running},
    error::{Code, OperationError},
    flow::{ShowFlow, WhichFlow},
    holds::{AddHold, HoldOn, ListHolds, ListedHolds, NewHold, ReleaseHolds, ReleasedHolds, WhichHolds, WhichReleased},
    link::{LinkUsers, UnlinkUser, WhichAccount, WhoAreOne},
    listing::{ListAllConversations, ListedConversations, WhichConversations},
    messages::{CancelMessage, ExplainMessage, ShowMessage, WhichCancelled, WhichExplained, WhichShown},
    metrics::{Numbers, ShowMetrics, WhichMetrics},
    modes::{
        ClearMode, ListModeChanges, ListedChanges, ModeChanged, ModesShown, NewMode, SetMode, ShowModes, WhichMode,
        WhichModeChanges, WhichModes,
    },
    pairing::{ApprovePairing, ListPairings, ListedPairings, RevokePairing, WhichApproved, WhichCode, WhichPairings},
    person::{SetPerson, WhatOfPerson},
    plugins::{
        DisablePlugin, EnablePlugin, ListPluginChanges, LoadPlugin, OrderedPlugin, RestartPlugin, StartPlugin,
        StopPlugin, UnloadPlugin, WhichPlugin, WhichPluginChanges,
    },
    preferences::{GonePreferences, NewPreferences, Preferences, SetPreferences, ShowPreferences, UnsetPreferences},
    queue::{
        FlushQueue, ListQueue, ListedQueue, QueueStats, ShowQueueStats, WhichFlushed, WhichQueue, WhichQueueStats,
    },
    queues::{
        AccountNow, InstanceNow, InstancesNow, ListInstances, QueuesNow, ShowQueues, WhichInstances, WhichQueues,
    },
    redaction::without_texts,
    replays::{
        ApplyReplay, PlanReplay, PlannedReplay, PreviewReplay, ReplayNow, ReplayedNow, WhichApplied, WhichReplayed,
    },
    retention::{PlanRetention, RemovedNow, RunRetention, ShowRetention, WhichRemoved, WhichRetention},
    routes::{
        ExplainRoute, ListRoutes, ListedRoute, ListedRoutes, PassedOver, RouteExplained, WhichRouted, WhichRoutes,
    },
    search::{ListMessages, ListedMessages, WhichFound, WhichMessages},
    spoken::{Moment, Span, age, duration},
    status::{ShowStatus, WhichStatus, Whole},
    targets::{ClearTargets, ListTargets, WhichCleared, WhichTargets},
    users::{ListConversations, ListUsers, Renaming, ShowUser, UpdateUser, WhichPeople, WhichPerson},
    which::WhichMessage,
    workers::{ListWorkers, WhichWorkers, WorkersNow},
};

/// What an operation does to the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It looks, and changes nothing.
    Reads,
    /// It changes something, and what it did can be undone. `again`: doing it twice is the same as once.
    Changes { again: bool },
    /// It ends or drops something, says something to people, or gives power to somebody: a caller that is a machine is
    /// asked to confirm it.
    Destroys { again: bool },
}

impl Effect {
    pub fn name(self) -> &'static str {
        match self {
            Self::Reads => "reads",
            Self::Changes { .. } => "changes",
            Self::Destroys { .. } => "destroys",
        }
    }

    /// Doing it twice comes to the same as doing it once.
    pub fn is_idempotent(self) -> bool {
        match self {
            Self::Reads => true,
            Self::Changes { again } | Self::Destroys { again } => again,
        }
    }
}

/// What the table says of an operation.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// A noun and a verb, with a dot between; the MCP tool has an underscore there.
    pub name: &'static str,
    /// One sentence.
    pub summary: &'static str,
    pub access: Access,
    pub effect: Effect,
    /// Agents or people hear of it.
    pub reaches_people: bool,
    /// The command, with the options that make it this operation.
    pub cli: &'static str,
    /// The ways on which it does not exist, each with the reason.
    pub absent: &'static [(Via, &'static str)],
}

impl Facts {
    pub fn changes(&self) -> bool {
        self.effect != Effect::Reads
    }

    /// Why there is no such way; `None` when there is.
    pub fn why_not(&self, via: Via) -> Option<&'static str> {
        self.absent.iter().find(|(absent, _)| *absent == via).map(|(_, why)| *why)
    }
}

/// What an operation would do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Foreseen {
    /// In a sentence.
    pub would: String,
    /// Rows that it would touch.
    pub count: u64,
    /// Some of their ids.
    pub examples: Vec<String>,
}

impl Foreseen {
    pub fn one(would: impl Into<String>, id: impl ToString) -> Self {
        Self { would: would.into(), count: 1, examples: vec![id.to_string()] }
    }
}

/// One operation.
pub trait Operation: 'static {
    type Request: DeserializeOwned + Serialize + JsonSchema + Send + Sync;
    type Answer: Serialize + JsonSchema + Send + Sync;
    const FACTS: Facts;

    /// Does it. Who may, and the audit log, are dealt with already.
    fn run(
        act: &Acting<'_>,
        request: &Self::Request,
    ) -> impl Future<Output = Result<Self::Answer, OperationError>> + Send;

    /// What it would do, without doing it. Every operation that [`Effect::Destroys`] says so itself.
    fn foresee(
        _deps: &Deps,
        _request: &Self::Request,
    ) -> impl Future<Output = Result<Foreseen, OperationError>> + Send {
        async { Ok(Foreseen { would: Self::FACTS.summary.to_owned(), count: 1, examples: Vec::new() }) }
    }
}
