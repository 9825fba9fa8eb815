//! Who asks: from which address, on which site's page, with which key.

use std::net::{IpAddr, SocketAddr};

use axum::http::{HeaderMap, StatusCode, header};

use super::{
    limits::{Counted, network},
    reply::Refused,
    shared::Shared,
};

/// What a caller may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Public,
    Plugin,
    Admin,
}

/// A caller who was let in.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    pub(super) address: IpAddr,
}

fn text<'a>(headers: &'a HeaderMap, name: &header::HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// The site whose page asks, if it may.
pub(super) fn allowed_origin<'a>(shared: &Shared, headers: &'a HeaderMap) -> Option<&'a str> {
    let origin = text(headers, &header::ORIGIN)?;
    let allowed = &shared.settings.allowed_origins;
    (allowed.iter().any(|known| known == "*" || known == origin) || is_own(headers, origin)).then_some(origin)
}

/// Whether the page is this server's own.
fn is_own(headers: &HeaderMap, origin: &str) -> bool {
    let site = origin.split_once("://").map(|(_, site)| site);
    site.is_some() && site == text(headers, &header::HOST)
}

/// Lets a request in, or says why not. The address is counted before the key is looked at.
pub(super) fn admit(shared: &Shared, headers: &HeaderMap, peer: SocketAddr, role: Role) -> Result<Caller, Refused> {
    let address = address(shared, headers, peer.ip());
    let (counted, per_minute) = {
        let (network, limits) = (network(address), &shared.settings.per_minute);
        match role {
            Role::Public => (Counted::Public(network), limits.public),
            Role::Plugin => (Counted::Plugin(network), limits.plugin),
            Role::Admin => (Counted::Admin(network), limits.admin),
        }
    };
    shared.limits.admit(counted, per_minute).map_err(Refused::too_many)?;
    if let Some(origin) = text(headers, &header::ORIGIN) {
        let is_welcome = match role {
            Role::Public => allowed_origin(shared, headers).is_some(),
            Role::Plugin | Role::Admin => is_own(headers, origin),
        };
        if !is_welcome {
            return Err(Refused::new(StatusCode::FORBIDDEN, "This site may not chat here (allowed_origins)"));
        }
    }
    if role != Role::Public && !has_key(shared, headers, role) {
        return Err(Refused::new(StatusCode::UNAUTHORIZED, "Authentication required"));
    }
    Ok(Caller { address })
}

fn has_key(shared: &Shared, headers: &HeaderMap, role: Role) -> bool {
    let given =
        text(headers, &header::AUTHORIZATION).and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
    shared.store.see(|book| match role {
        Role::Public => true,
        Role::Plugin => shared.api_key.admits(given, book.config.api_key.as_ref()),
        Role::Admin => shared.admin_key.admits(given, book.config.admin_key.as_ref()),
    })
}

/// The caller's own address: of the hops that are named, the last one that is no proxy of ours.
fn address(shared: &Shared, headers: &HeaderMap, peer: IpAddr) -> IpAddr {
    let peer = peer.to_canonical();
    let trusted = |address: &IpAddr| shared.settings.trusted_proxies.contains(address);
    if !trusted(&peer) {
        return peer;
    }
    let forwarded = headers.get_all("x-forwarded-for").iter().filter_map(|value| value.to_str().ok());
    let hops: Vec<IpAddr> = forwarded
        .flat_map(|value| value.split(','))
        .filter_map(|hop| hop.trim().parse::<IpAddr>().ok().map(|hop| hop.to_canonical()))
        .collect();
    hops.into_iter().rev().find(|hop| !trusted(hop)).unwrap_or(peer)
}
