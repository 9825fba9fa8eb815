//! The table of operations as an MCP server: a tool for each, resources to look at, prompts for the usual questions.
//!
//! What a tool may do is decided by the table and the caller's token, as everywhere; the hints are for the host. What ends or
//! drops something takes two calls (`broca_admin::operations::confirm`). What people wrote is left out unless the caller
//! may read it, and long lists are cut: a model reads all that it is given.

mod prompts;
mod resources;
mod tools;

use std::sync::Arc;

use axum::{Router, http::request::Parts, middleware::from_fn_with_state, routing::get};
use broca_admin::operations::{Caller, Deps};
use rmcp::{
    ErrorData, RoleServer, ServerHandler,
    model::{
        CallToolRequestParams, CallToolResponse, GetPromptRequestParams, GetPromptResponse, Implementation,
        InitializeResult, ListPromptsResult, ListResourceTemplatesResult, ListResourcesResult, ListToolsResult,
        PaginatedRequestParams, ReadResourceRequestParams, ReadResourceResponse, ServerCapabilities,
    },
    service::RequestContext,
    transport::streamable_http_server::{
        StreamableHttpServerConfig, StreamableHttpService, session::local::LocalSessionManager,
    },
};
use tokio_util::sync::CancellationToken;

use crate::serving::{
    MAX_BODY_BYTES,
    guard::{Door, guard},
    healthz,
};

const INSTRUCTIONS: &str = "Broca carries chat messages between platforms and agents. Every message has an id, and ends answered, \
stored, suppressed, cancelled or as a dead letter. Begin with status_show, or with message_explain when somebody waits for an \
answer. Lists are short pages: go on with next_cursor. Times are microseconds since 1970, UTC. A tool that ends, drops or sends \
something answers first with what it would do and a confirmation; show that to the person you work for, and call again with \
it only when they agree. Texts may be redacted: then you may not read them, and need not.";

/// One server, for one caller at its other end (stdio) or for whoever shows a token (HTTP).
#[derive(Clone, Debug)]
pub(crate) struct Server {
    deps: Arc<Deps>,
    local: Option<Caller>,
}

impl Server {
    /// Everything comes from this caller.
    pub(crate) fn local(deps: Arc<Deps>, caller: Caller) -> Self {
        Self { deps, local: Some(caller) }
    }

    /// At `/mcp`, behind the same door as the operations. Each request is looked at by itself: there are no sessions.
    pub(crate) fn router(deps: Arc<Deps>, door: Door, shutdown: CancellationToken) -> Router {
        let config = StreamableHttpServerConfig::default()
            .with_legacy_session_mode(false)
            .with_json_response(true)
            .with_allowed_hosts(door.hosts())
            .with_allowed_origins(door.origins())
            .enforce_origin_validation()
            .with_max_request_body_bytes(MAX_BODY_BYTES)
            .with_cancellation_token(shutdown);
        let server = Self { deps, local: None };
        let service =
            StreamableHttpService::new(move || Ok(server.clone()), Arc::new(LocalSessionManager::default()), config);
        let guarded = Router::new().nest_service("/mcp", service).layer(from_fn_with_state(door, guard));
        Router::new().route("/healthz", get(healthz)).merge(guarded)
    }

    /// Whom a request comes from: the door wrote it on the request.
    fn caller(&self, context: &RequestContext<RoleServer>) -> Result<Caller, ErrorData> {
        let shown = || context.extensions.get::<Parts>()?.extensions.get::<Caller>().cloned();
        self.local.clone().or_else(shown).ok_or_else(|| ErrorData::invalid_request("nobody knows who asks", None))
    }
}

impl ServerHandler for Server {
    fn get_info(&self) -> InitializeResult {
        let capabilities = ServerCapabilities::builder().enable_tools().enable_resources().enable_prompts().build();
        InitializeResult::new(capabilities)
            .with_server_info(Implementation::new("broca", env!("CARGO_PKG_VERSION")))
            .with_instructions(INSTRUCTIONS)
    }

    async fn list_tools(
        &self,
        _request: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(tools::of(&self.caller(&context)?)))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let caller = self.caller(&context)?;
        Ok(tools::call(&self.deps, &caller, request).await?.into())
    }

    async fn list_resources(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        Ok(ListResourcesResult::with_all_items(resources::all()))
    }

    async fn list_resource_templates(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        Ok(ListResourceTemplatesResult::with_all_items(resources::templates()))
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let caller = self.caller(&context)?;
        Ok(resources::read(&self.deps, &caller, &request.uri).await?.into())
    }

    async fn list_prompts(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListPromptsResult, ErrorData> {
        Ok(ListPromptsResult::with_all_items(prompts::all()))
    }

    async fn get_prompt(
        &self,
        request: GetPromptRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<GetPromptResponse, ErrorData> {
        Ok(prompts::get(&request.name, &request.arguments.unwrap_or_default())?.into())
    }
}
