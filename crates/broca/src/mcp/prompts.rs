//! The usual questions, as a beginning for whoever asks them.

use rmcp::{
    ErrorData,
    model::{GetPromptResult, JsonObject, Prompt, PromptArgument, PromptMessage, Role},
};

struct Question {
    name: &'static str,
    description: &'static str,
    /// Name, description and what it is unless given.
    argument: Option<(&'static str, &'static str, Option<&'static str>)>,
    /// `{}` is the argument.
    text: &'static str,
}

const ALL: &[Question] = &[
    Question {
        name: "why-no-answer",
        description: "Why did a message get no answer?",
        argument: Some(("id", "The message's id, or at least the first eight digits of it", None)),
        text: "Find out why message {} has no answer. Call message_explain with this id and say its sentence in your own words. \
               If that is not enough, call message_show and read its journey from the end. If it waits for others, explain the \
               first of them, too; if it is parked or on hold, say until when and why; if it is a dead letter, call dlq_show and \
               say what a replay would need (replay_preview). Say what happens by itself and what somebody has to do. Change nothing.",
    },
    Question {
        name: "after-an-outage",
        description: "Is everything back after an outage, and what is left to do?",
        argument: Some(("since", "When it began, e.g. 2h or 2026-11-23T08:00:00Z", Some("2h"))),
        text: "There was an outage; it began {} (an age is one before now). Say whether everything is back. Call check_run: orphans must be 0. \
               Call status_show: are there workers, is an endpoint in trouble, how old is the oldest open message, does it get younger? \
               Call dlq_list with filter.since of that time and sort what failed by class. For those that failed because something was \
               away, call replay_preview with the same filter and say what it would send and its warnings, and which are too old to be \
               welcome. Propose a replay_plan, and apply it only when the person you work for agrees.",
    },
    Question {
        name: "what-failed",
        description: "What failed lately, and why?",
        argument: Some(("since", "Since when, e.g. 24h", Some("24h"))),
        text: "Say what failed since {} ago. Call dlq_list with filter.since of that, page by page with next_cursor, at most ten pages. \
               Group by class, agent and instance, with counts and one example id each. For the biggest group call dlq_show on one \
               example and say the cause. Call targets_list for people and chats that take no answers, and audit_list to see what operators \
               did about it already. Do not quote texts. Change nothing; end with what you would do, most urgent first.",
    },
];

pub(super) fn all() -> Vec<Prompt> {
    let prompt = |question: &Question| {
        let argument = question.argument.map(|(name, description, unless)| {
            vec![PromptArgument::new(name).with_description(description).with_required(unless.is_none())]
        });
        Prompt::new(question.name, Some(question.description), argument)
    };
    ALL.iter().map(prompt).collect()
}

pub(super) fn get(name: &str, arguments: &JsonObject) -> Result<GetPromptResult, ErrorData> {
    let question = ALL.iter().find(|question| question.name == name);
    let question = question.ok_or_else(|| ErrorData::invalid_params(format!("there is no prompt '{name}'"), None))?;
    let mut text = question.text.to_owned();
    if let Some((argument, description, unless)) = question.argument {
        let given = arguments.get(argument).and_then(|value| value.as_str()).or(unless);
        let given =
            given.ok_or_else(|| ErrorData::invalid_params(format!("{argument} is missing: {description}"), None))?;
        text = text.replace("{}", given);
    }
    Ok(GetPromptResult::new(vec![PromptMessage::new_text(Role::User, text)]).with_description(question.description))
}

#[cfg(test)]
mod tests {
    use broca_admin::operations::table;
    use serde_json::json;

    use super::*;

    #[test]
    fn prompts_name_tools_that_there_are() {
        for question in ALL {
            for word in
                question.text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|w| w.contains('_'))
            {
                let known = table::ALL.iter().any(|entry| entry.facts.name.replace('.', "_") == word);
                assert!(known || word == "next_cursor", "{}: {word}", question.name);
            }
        }
        assert_eq!(all().len(), ALL.len());
    }

    #[test]
    fn an_argument_stands_in_its_place() {
        let arguments = json!({"id": "01a20a75"}).as_object().unwrap().clone();
        let told = serde_json::to_string(&get("why-no-answer", &arguments).unwrap()).unwrap();
        assert!(told.contains("message 01a20a75 has"), "{told}");
        assert!(get("why-no-answer", &JsonObject::new()).is_err());
        assert!(get("what-failed", &JsonObject::new()).is_ok());
        assert!(get("nonsense", &JsonObject::new()).is_err());
    }
}
