//! Files that people send: Telegram gives out those of up to 20 MB.

use reqwest::StatusCode;
use secrecy::ExposeSecret;
use serde::Deserialize;
use serde_json::json;

use super::{Api, ApiError, TIMEOUT, read};

/// Why there are no bytes.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    #[error(transparent)]
    Call(#[from] ApiError),
    /// Where it lies is no address on the server: a local server's, which keeps files on its own disk.
    #[error("the bot API server does not give files out by HTTP")]
    NotServed,
    #[error("the file server answered {0}")]
    Refused(StatusCode),
    #[error("it is larger than the limit of {0} bytes")]
    TooLarge(usize),
}

impl FileError {
    /// Whether it may be there in a moment.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::Call(ApiError::NotReached(_) | ApiError::CutOff(_)) => true,
            Self::Call(ApiError::Refused(refused)) => refused.code == 429 || refused.code >= 500,
            Self::Refused(status) => *status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error(),
            Self::Call(ApiError::Unreadable) | Self::NotServed | Self::TooLarge(_) => false,
        }
    }
}

#[derive(Deserialize)]
struct Place {
    file_path: Option<String>,
}

impl Api {
    /// The bytes of a file, if there are no more than `limit`.
    pub(crate) async fn file(&self, file_id: &str, limit: usize) -> Result<Vec<u8>, FileError> {
        let place: Place = self.call("getFile", &json!({"file_id": file_id}), TIMEOUT).await?;
        let path = place.file_path.filter(|path| is_relative(path)).ok_or(FileError::NotServed)?;
        let url = format!("{}/{path}", self.files.expose_secret());
        let sent = self.http.get(url).timeout(TIMEOUT).send().await;
        let response = sent.map_err(|error| ApiError::of_request(error.without_url()))?;
        if !response.status().is_success() {
            return Err(FileError::Refused(response.status()));
        }
        if response.content_length().is_some_and(|length| length > limit as u64) {
            return Err(FileError::TooLarge(limit));
        }
        match read(response, limit).await {
            Err(ApiError::Unreadable) => Err(FileError::TooLarge(limit)),
            read => Ok(read?),
        }
    }
}

/// It becomes a part of the address behind the token.
fn is_relative(path: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '_' | '-');
    !path.is_empty() && path.chars().all(fits) && path.split('/').all(|part| !part.is_empty() && part != "..")
}

#[cfg(test)]
mod tests {
    use super::is_relative;

    #[test]
    fn a_path_does_not_leave_the_bots_files() {
        assert!(is_relative("photos/file_0.jpg"));
        for path in ["", "/var/lib/file", "a//b", "../bot1:x/getMe", "a?b", "a%2e%2e/b", "a b"] {
            assert!(!is_relative(path), "{path}");
        }
    }
}
