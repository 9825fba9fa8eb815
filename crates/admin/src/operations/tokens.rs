//! Tokens: what callers of the HTTP and MCP servers show.

use broca_core::rights::Access;
use broca_store::{ApiToken, NewToken, Store, Via};
use ring::{
    digest,
    rand::{SecureRandom, SystemRandom},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Acting, Caller, Code, Deps, Effect, Facts, Foreseen, Operation, OperationError, Span};

/// So that a token is known as one wherever it turns up.
const PREFIX: &str = "broca_";
const RANDOM_BYTES: usize = 32;

/// A secret that nobody can guess.
pub fn secret(prefix: &str) -> Result<String, OperationError> {
    let mut bytes = [0_u8; RANDOM_BYTES];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| OperationError::new(Code::Failure, "the system has no random numbers"))?;
    Ok(bytes.iter().fold(prefix.to_owned(), |text, byte| text + &format!("{byte:02x}")))
}

pub(super) fn hash(secret: &[u8]) -> Vec<u8> {
    digest::digest(&digest::SHA256, secret).as_ref().to_vec()
}

/// The caller whose token this is.
///
/// # Errors
/// [`Code::Unauthorised`] when it is nobody's, or can be used no more; the database does not answer.
pub async fn caller(store: &Store, token: &str, via: Via) -> Result<Caller, OperationError> {
    let found = store.token_shown(&hash(token.as_bytes())).await?;
    let ApiToken { name, access, contents, .. } = found.ok_or_else(|| {
        OperationError::new(Code::Unauthorised, "this token is not known, or has expired or was revoked")
            .hint("`broca token list` has those that are; `broca token add NAME` makes one")
    })?;
    Ok(Caller { name: format!("{}:{name}", via.as_str()), via, access, contents })
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WantedToken {
    /// What the audit log calls its owner: letters, digits, '-', '_' and '.'.
    pub name: String,
    pub access: Access,
    /// It may read what people and agents wrote.
    #[serde(default)]
    pub contents: bool,
    /// It ends by itself after this long; when it is revoked unless given.
    #[serde(default)]
    pub expires: Option<Span>,
    /// Why, for the record.
    #[serde(default)]
    pub reason: Option<String>,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct MadeToken {
    pub token: ApiToken,
    /// What its owner shows. It is told this once.
    pub secret: String,
}

#[derive(Debug)]
pub struct AddToken;

impl Operation for AddToken {
    type Request = WantedToken;
    type Answer = MadeToken;
    const FACTS: Facts = Facts {
        name: "token.add",
        summary: "Makes a token for the HTTP and MCP servers, and tells it once.",
        access: Access::Admin,
        effect: Effect::Changes { again: false },
        reaches_people: false,
        cli: "token add",
        absent: &[(Via::Mcp, "the secret would stand in a model's transcript")],
    };

    async fn run(act: &Acting<'_>, request: &WantedToken) -> Result<MadeToken, OperationError> {
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if request.name.is_empty() || request.name.len() > 64 || !request.name.chars().all(legal) {
            return Err(OperationError::new(
                Code::Usage,
                "a token's name has 1 to 64 letters, digits, '-', '_' or '.'",
            ));
        }
        let secret = secret(PREFIX)?;
        let new = NewToken {
            name: request.name.clone(),
            hash: hash(secret.as_bytes()),
            access: request.access,
            contents: request.contents,
            created_by: act.actor().to_owned(),
            life: request.expires.map(|span| span.0),
        };
        let token = act.store().add_token(new).await?.ok_or_else(|| {
            OperationError::new(Code::Conflict, format!("there is a token '{}' already", request.name))
                .hint(format!("`broca token revoke {}` ends it", request.name))
        })?;
        act.about(token.id);
        Ok(MadeToken { token, secret })
    }
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WhichTokens {
    /// Also those that can be used no more.
    pub all: bool,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ListedTokens {
    /// The newest first.
    pub items: Vec<ApiToken>,
}

#[derive(Debug)]
pub struct ListTokens;

impl Operation for ListTokens {
    type Request = WhichTokens;
    type Answer = ListedTokens;
    const FACTS: Facts = Facts {
        name: "token.list",
        summary: "The tokens of the HTTP and MCP servers: names, rights and last use, never what it takes to use one.",
        access: Access::Admin,
        effect: Effect::Reads,
        reaches_people: false,
        cli: "token list",
        absent: &[],
    };

    async fn run(act: &Acting<'_>, request: &WhichTokens) -> Result<ListedTokens, OperationError> {
        let mut items = act.store().tokens().await?;
        items.retain(|token| request.all || token.live);
        Ok(ListedTokens { items })
    }
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WhichRevoked {
    pub name: String,
    /// Why, for the record.
    #[serde(default)]
    pub reason: Option<String>,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct RevokedToken {
    pub token: ApiToken,
}

#[derive(Debug)]
pub struct RevokeToken;

impl Operation for RevokeToken {
    type Request = WhichRevoked;
    type Answer = RevokedToken;
    const FACTS: Facts = Facts {
        name: "token.revoke",
        summary: "Ends a token: whoever shows it from now on is refused.",
        access: Access::Admin,
        effect: Effect::Destroys { again: false },
        reaches_people: false,
        cli: "token revoke",
        absent: &[],
    };

    async fn run(act: &Acting<'_>, request: &WhichRevoked) -> Result<RevokedToken, OperationError> {
        let token =
            act.store().revoke_token(&request.name, act.actor()).await?.ok_or_else(|| unknown(&request.name))?;
        act.about(token.id);
        act.before(json!({"access": token.access, "contents": token.contents, "expires_at": token.expires_at}));
        Ok(RevokedToken { token })
    }

    async fn foresee(deps: &Deps, request: &WhichRevoked) -> Result<Foreseen, OperationError> {
        let tokens = deps.store.tokens().await?;
        let token = tokens.iter().find(|token| token.name == request.name && token.revoked_at.is_none());
        let token = token.ok_or_else(|| unknown(&request.name))?;
        Ok(Foreseen::one(format!("end the token '{}', which has {} access", token.name, token.access), token.id))
    }
}

fn unknown(name: &str) -> OperationError {
    OperationError::new(Code::NotFound, format!("there is no token '{name}'")).hint("`broca token list` has them")
}
