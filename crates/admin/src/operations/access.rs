use broca_core::{
    Instance, RuleId,
    access::{RuleKind, Who},
    rights::Access,
};
use broca_store::{AccessRule, NewRule, RuleSource};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    Acting, Code, Deps, Effect, Facts, Foreseen, Operation, OperationError, Span, dead_letters::page_size, holds::known,
};
use crate::access;

/// Rules that a preview names.
const NAMED: usize = 5;

#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WhichRules {
    /// Also those that are over, newest first.
    pub all: bool,
    /// 20 unless given; at most 100 by MCP, and 10000 otherwise.
    pub limit: Option<u32>,
    /// The next_cursor of the page before.
    pub cursor: Option<RuleId>,
}

impl WhichRules {
    async fn list(&self, act: &Acting<'_>, kind: Option<RuleKind>) -> Result<ListedRules, OperationError> {
        let limit = page_size(act, self.limit)?;
        let (items, next_cursor) = access::list(act.store(), (kind, self.all), self.cursor, limit).await?;
        Ok(ListedRules { items, next_cursor })
    }
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ListedRules {
    pub items: Vec<AccessRule>,
    /// Where the next page begins; nothing when this is the last one.
    pub next_cursor: Option<RuleId>,
}

/// What is said of somebody, in place of what was said of them and the same instance before.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewRuleOn {
    pub who: Who,
    /// On this plugin instance alone; on all of them unless given.
    #[serde(default)]
    pub instance: Option<Instance>,
    /// Why; everybody who looks sees it.
    #[serde(default)]
    pub reason: Option<String>,
    /// It ends by itself after this long; when it is taken back unless given.
    #[serde(default, rename = "for")]
    pub life: Option<Span>,
}

impl NewRuleOn {
    fn check(&self, deps: &Deps) -> Result<(), OperationError> {
        let instances = || deps.configured.instances.iter().map(ToString::to_string);
        self.instance.as_ref().map_or(Ok(()), |one| known("instance", one.as_str(), instances()))
    }

    async fn put(&self, act: &Acting<'_>, kind: RuleKind) -> Result<AccessRule, OperationError> {
        self.check(act.deps)?;
        if let Some(rule) = self.replaced(act.deps).await? {
            act.before(json!({"id": rule.id, "kind": rule.kind, "expires_at": rule.expires_at}));
        }
        let rule = NewRule {
            kind,
            who: self.who.clone(),
            instance: self.instance.clone(),
            reason: self.reason.clone(),
            source: RuleSource::Operator,
            actor: act.actor().to_owned(),
            life: self.life.map(|span| span.0),
        };
        let rule = access::put(act.store(), rule).await?;
        act.about(rule.id);
        Ok(rule)
    }

    /// The rule in whose place it comes.
    async fn replaced(&self, deps: &Deps) -> Result<Option<AccessRule>, OperationError> {
        Ok(access::said_of(&deps.store, &self.who, self.instance.as_ref()).await?)
    }

    async fn foresee(&self, deps: &Deps, would: &str) -> Result<Foreseen, OperationError> {
        self.check(deps)?;
        let on = self.instance.as_ref().map_or_else(|| "all instances".to_owned(), ToString::to_string);
        let over = self.life.map(|life| format!(" for {life}")).unwrap_or_default();
        let replaced = self.replaced(deps).await?;
        let instead = replaced.map(|rule| format!(", in place of '{}'", rule.kind)).unwrap_or_default();
        Ok(Foreseen::one(format!("{would} on {on}{over}{instead}"), &self.who))
    }
}

/// Rules by their ids, or all that are about somebody. Each must be in force.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WhichGone {
    pub ids: Vec<RuleId>,
    /// Whom the rules are about.
    pub who: Vec<Who>,
    /// Why, for the record.
    pub reason: Option<String>,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct RemovedRules {
    pub removed: u64,
}

impl WhichGone {
    async fn rules(&self, deps: &Deps, kind: Option<RuleKind>) -> Result<Vec<AccessRule>, OperationError> {
        if self.ids.is_empty() && self.who.is_empty() {
            return Err(OperationError::new(Code::Usage, "which rules?")
                .hint("give ids or people; `broca access list` and `broca ignore list` have them"));
        }
        Ok(access::named(&deps.store, &self.ids, &self.who, kind).await?)
    }

    async fn remove(&self, act: &Acting<'_>, kind: Option<RuleKind>) -> Result<RemovedRules, OperationError> {
        let rules = self.rules(act.deps, kind).await?;
        rules.iter().for_each(|rule| act.about(rule.id));
        act.before(json!({"items": rules}));
        Ok(RemovedRules { removed: access::remove(act.store(), &rules, act.actor()).await? })
    }

    async fn foresee(&self, deps: &Deps, kind: Option<RuleKind>) -> Result<Foreseen, OperationError> {
        let rules = self.rules(deps, kind).await?;
        let said = rules.iter().take(NAMED).map(|rule| format!("'{}' of {}", rule.kind, rule.who));
        Ok(Foreseen {
            would: format!("take {} rules back: {}", rules.len(), said.collect::<Vec<_>>().join(", ")),
            count: u64::try_from(rules.len()).unwrap_or(u64::MAX),
            examples: rules.iter().take(NAMED).map(|rule| rule.id.to_string()).collect(),
        })
    }
}

#[derive(Debug)]
pub struct ListRules;

impl Operation for ListRules {
    type Request = WhichRules;
    type Answer = ListedRules;
    const FACTS: Facts = Facts {
        name: "access.list",
        summary: "The rules about who may talk, also who is ignored: whom, where, since when, until when and why.",
        access: Access::Read,
        effect: Effect::Reads,
        reaches_people: false,
        cli: "access list",
        absent: &[],
    };

    async fn run(act: &Acting<'_>, request: &WhichRules) -> Result<ListedRules, OperationError> {
        request.list(act, None).await
    }
}

#[derive(Debug)]
pub struct AllowPerson;

impl Operation for AllowPerson {
    type Request = NewRuleOn;
    type Answer = AccessRule;
    const FACTS: Facts = Facts {
        name: "access.allow",
        summary: "Lets somebody in, whatever the policy says.",
        access: Access::Operate,
        effect: Effect::Destroys { again: false },
        reaches_people: false,
        cli: "access allow",
        absent: &[],
    };

    async fn run(act: &Acting<'_>, request: &NewRuleOn) -> Result<AccessRule, OperationError> {
        request.put(act, RuleKind::Allow).await
    }

    async fn foresee(deps: &Deps, request: &NewRuleOn) -> Result<Foreseen, OperationError> {
        request.foresee(deps, &format!("let {} in", request.who)).await
    }
}

#[derive(Debug)]
pub struct DenyPerson;

impl Operation for DenyPerson {
    type Request = NewRuleOn;
    type Answer = AccessRule;
    const FACTS: Facts = Facts {
        name: "access.deny",
        summary: "Keeps somebody out: what they write gets no answer.",
        access: Access::Operate,
        effect: Effect::Destroys { again: false },
        reaches_people: false,
        cli: "access deny",
        absent: &[],
    };

    async fn run(act: &Acting<'_>, request: &NewRuleOn) -> Result<AccessRule, OperationError> {
        request.put(act, RuleKind::Deny).await
    }

    async fn foresee(deps: &Deps, request: &NewRuleOn) -> Result<Foreseen, OperationError> {
        request.foresee(deps, &format!("keep {} out", request.who)).await
    }
}

#[derive(Debug)]
pub struct AddAdmin;

impl Operation for AddAdmin {
    type Request = NewRuleOn;
    type Answer = AccessRule;
    const FACTS: Facts = Facts {
        name: "access.admin",
        summary: "Lets somebody in, without limits, and to the commands of admins.",
        access: Access::Admin,
        effect: Effect::Destroys { again: false },
        reaches_people: false,
        cli: "access admin",
        absent: &[],
    };

    async fn run(act: &Acting<'_>, request: &NewRuleOn) -> Result<AccessRule, OperationError> {
        request.put(act, RuleKind::Admin).await
    }

    async fn foresee(deps: &Deps, request: &NewRuleOn) -> Result<Foreseen, OperationError> {
        let would = format!("let {} in, without limits, and to the commands of admins,", request.who);
        request.foresee(deps, &would).await
    }
}

#[derive(Debug)]
pub struct RemoveRules;

impl Operation for RemoveRules {
    type Request = WhichGone;
    type Answer = RemovedRules;
    const FACTS: Facts = Facts {
        name: "access.remove",
        summary: "Takes rules about who may talk back; the policy counts again.",
        access: Access::Operate,
        effect: Effect::Destroys { again: false },
        reaches_people: false,
        cli: "access remove",
        absent: &[],
    };

    async fn run(act: &Acting<'_>, request: &WhichGone) -> Result<RemovedRules, OperationError> {
        request.remove(act, None).await
    }

    async fn foresee(deps: &Deps, request: &WhichGone) -> Result<Foreseen, OperationError> {
        request.foresee(deps, None).await
    }
}

#[derive(Debug)]
pub struct ListIgnored;

impl Operation for ListIgnored {
    type Request = WhichRules;
    type Answer = ListedRules;
    const FACTS: Facts = Facts {
        name: "ignore.list",
        summary: "Whoever is ignored, since when, until when and why.",
        access: Access::Read,
        effect: Effect::Reads,
        reaches_people: false,
        cli: "ignore list",
        absent: &[],
    };

    async fn run(act: &Acting<'_>, request: &WhichRules) -> Result<ListedRules, OperationError> {
        request.list(act, Some(RuleKind::Ignore)).await
    }
}

#[derive(Debug)]
pub struct AddIgnored;

impl Operation for AddIgnored {
    type Request = NewRuleOn;
    type Answer = AccessRule;
    const FACTS: Facts = Facts {
        name: "ignore.add",
        summary: "Takes nothing of somebody any more.",
        access: Access::Operate,
        effect: Effect::Destroys { again: false },
        reaches_people: false,
        cli: "ignore add",
        absent: &[],
    };

    async fn run(act: &Acting<'_>, request: &NewRuleOn) -> Result<AccessRule, OperationError> {
        request.put(act, RuleKind::Ignore).await
    }

    async fn foresee(deps: &Deps, request: &NewRuleOn) -> Result<Foreseen, OperationError> {
        request.foresee(deps, &format!("take nothing of {} any more", request.who)).await
    }
}

#[derive(Debug)]
pub struct RemoveIgnored;

impl Operation for RemoveIgnored {
    type Request = WhichGone;
    type Answer = RemovedRules;
    const FACTS: Facts = Facts {
        name: "ignore.remove",
        summary: "Takes the messages of people who are ignored again.",
        access: Access::Operate,
        effect: Effect::Destroys { again: false },
        reaches_people: false,
        cli: "ignore remove",
        absent: &[],
    };

    async fn run(act: &Acting<'_>, request: &WhichGone) -> Result<RemovedRules, OperationError> {
        request.remove(act, Some(RuleKind::Ignore)).await
    }

    async fn foresee(deps: &Deps, request: &WhichGone) -> Result<Foreseen, OperationError> {
        request.foresee(deps, Some(RuleKind::Ignore)).await
    }
}
