//! Commands in chats. `ingest` stores their messages aside, where no agent hears of them; here they are obeyed, and their
//! replies written. A platform that repeats the message after a crash has it obeyed then.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use broca_core::{
    Incoming, MessageId,
    access::{Standing, Who},
    chat_command::{AdminCommand, ChatCommand, ChatCommands, IN_PRIVATE},
};
use broca_store::{Command, LinkTerms, Owed, Store, StoreError};

/// Somebody who gave a command of admins.
#[derive(Clone, Debug)]
pub struct Commander {
    /// Their account, e.g. `telegram/7`.
    pub account: String,
    pub standing: Standing,
    /// They may give it, and here.
    pub may: bool,
}

/// Does what admins ask for in a chat.
#[async_trait]
pub trait Operator: fmt::Debug + Send + Sync {
    /// What it came to, in words for the chat. Who may not is told so, and written down.
    async fn operate(&self, by: &Commander, command: &AdminCommand) -> String;
}

#[derive(Debug)]
struct Nobody;

#[async_trait]
impl Operator for Nobody {
    async fn operate(&self, _: &Commander, _: &AdminCommand) -> String {
        "Nobody here takes such commands.".to_owned()
    }
}

/// Which commands are taken in an instance's chats, and who obeys.
#[derive(Clone, Debug)]
pub struct CommandOptions {
    pub taken: ChatCommands,
    pub link: LinkTerms,
    pub operator: Arc<dyn Operator>,
}

impl Default for CommandOptions {
    fn default() -> Self {
        Self { taken: ChatCommands::default(), link: LinkTerms::default(), operator: Arc::new(Nobody) }
    }
}

/// A command on its way.
#[derive(Clone, Debug)]
pub(crate) struct Given {
    command: ChatCommand,
    account: String,
    is_group: bool,
}

impl CommandOptions {
    /// The command that a message is. Its text becomes what may be kept of it.
    pub(crate) fn given(&self, platform: &str, incoming: &mut Incoming) -> Option<Given> {
        let command = self.taken.read(&incoming.text)?;
        incoming.text = command.for_the_record();
        let account = Who::id(platform, &incoming.sender.platform_user_id).to_string();
        Some(Given { command, account, is_group: incoming.is_group })
    }

    /// Obeys, unless it was obeyed before; gives the reply that is owed.
    pub(crate) async fn obey(
        &self,
        store: &Store,
        message: MessageId,
        (given, standing): (Given, Standing),
    ) -> Result<Option<Owed>, StoreError> {
        let terms = self.link;
        let command = match given.command {
            ChatCommand::Link(_) | ChatCommand::Unlink if given.is_group => Command::Reply(IN_PRIVATE.to_owned()),
            ChatCommand::Link(None) => Command::Code(terms),
            ChatCommand::Link(Some(code)) => Command::Link { code, terms },
            ChatCommand::Unlink => Command::Unlink,
            ChatCommand::Admin(command) => {
                if !store.is_command_open(message).await? {
                    return Ok(None);
                }
                let may = command.word.is_for(standing) && (self.taken.groups || !given.is_group);
                let by = Commander { account: given.account, standing, may };
                Command::Reply(self.operator.operate(&by, &command).await)
            }
        };
        store.obey(message, command).await
    }
}
