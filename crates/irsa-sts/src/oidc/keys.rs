//! The keys of one provider: kept, fetched again when they are old or when a token names one that is not there.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};

use super::fetch::{FetchError, Issuer};
use super::jwks::{JwksError, KeySet, Verification};
use super::jwt::Token;
use crate::config::IssuerDocuments;

/// How long keys are used without asking again.
const FRESH: Duration = Duration::from_secs(300);

/// Tokens with unknown key ids cost a fetch each, up to this many at once …
const BURST: u32 = 5;

/// … and then one in this time. Anybody can send such tokens.
const REFILL: Duration = Duration::from_secs(2);

/// Where a provider's keys come from.
pub(crate) enum Keys {
    /// Given in the configuration.
    Fixed(Arc<KeySet>),
    /// Fetched.
    Fetched(Box<Fetched>),
}

/// The cache of a provider that is fetched.
pub(crate) struct Fetched {
    issuer: Issuer,
    current: RwLock<Option<(Arc<KeySet>, Instant)>>,
    budget: Mutex<Budget>,
    /// Held while fetching, so that many tokens at once cost one fetch.
    fetching: tokio::sync::Mutex<()>,
}

struct Budget {
    left: u32,
    since: Instant,
}

/// Why a token could not be verified.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum KeyLookupError {
    /// The keys are there, and none is the token's.
    #[error("no key of the issuer has the id and algorithm of the token")]
    NoKey,
    /// The key is there, and the signature is not its.
    #[error("the signature is not that of the issuer's key")]
    BadSignature,
    /// The keys could not be had.
    #[error(transparent)]
    Fetch(#[from] FetchError),
}

impl Keys {
    /// Keys as configured. The error is a sentence about the configuration.
    pub(crate) fn new(url: &str, documents: &IssuerDocuments) -> Result<Self, String> {
        match documents {
            IssuerDocuments::Jwks(json) => KeySet::parse(json.as_bytes())
                .map(|keys| Self::Fixed(Arc::new(keys)))
                .map_err(|error: JwksError| error.to_string()),
            IssuerDocuments::Fetch {
                base_url,
                ca_pem,
                bearer_token,
            } => {
                let issuer = Issuer::new(
                    url,
                    base_url.as_deref(),
                    ca_pem.as_deref(),
                    bearer_token.as_deref(),
                )?;
                Ok(Self::Fetched(Box::new(Fetched {
                    issuer,
                    current: RwLock::new(None),
                    budget: Mutex::new(Budget {
                        left: BURST,
                        since: Instant::now(),
                    }),
                    fetching: tokio::sync::Mutex::new(()),
                })))
            }
        }
    }

    /// Verifies a token's signature, fetching keys when that is called for.
    pub(crate) async fn verify(&self, token: &Token<'_>) -> Result<(), KeyLookupError> {
        let verification = match self {
            Self::Fixed(keys) => keys.verify(token),
            Self::Fetched(fetched) => fetched.verify(token).await?,
        };
        match verification {
            Verification::Good => Ok(()),
            Verification::Bad => Err(KeyLookupError::BadSignature),
            Verification::NoKey => Err(KeyLookupError::NoKey),
        }
    }
}

impl Fetched {
    async fn verify(&self, token: &Token<'_>) -> Result<Verification, FetchError> {
        let started = Instant::now();
        let known = self.current.read().clone();
        if let Some((keys, since)) = &known {
            let verification = keys.verify(token);
            let fresh = since.elapsed() < FRESH;
            if fresh && verification != Verification::NoKey {
                return Ok(verification);
            }
            if !self.may_fetch() {
                return Ok(verification);
            }
        }
        let _only_one = self.fetching.lock().await;
        // Somebody else may have fetched while this one waited.
        if let Some((keys, since)) = self.current.read().clone()
            && since >= started
        {
            return Ok(keys.verify(token));
        }
        match self.issuer.keys().await {
            Ok(keys) => {
                let keys = Arc::new(keys);
                *self.current.write() = Some((keys.clone(), Instant::now()));
                Ok(keys.verify(token))
            }
            // Old keys are better than none while an issuer is away.
            Err(error) => match known {
                Some((keys, _)) if keys.verify(token) != Verification::NoKey => {
                    tracing::warn!(%error, "keys of an issuer could not be fetched again; the old ones are used");
                    Ok(keys.verify(token))
                }
                _ => Err(error),
            },
        }
    }

    /// Takes one fetch from the budget, if there is one.
    fn may_fetch(&self) -> bool {
        let mut budget = self.budget.lock();
        let refills = budget.since.elapsed().as_millis() / REFILL.as_millis();
        if refills > 0 {
            budget.left = BURST.min(
                budget
                    .left
                    .saturating_add(u32::try_from(refills).unwrap_or(BURST)),
            );
            budget.since = Instant::now();
        }
        let may = budget.left > 0;
        budget.left = budget.left.saturating_sub(1);
        may
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use bytes::Bytes;
    use http::{Request, Response};
    use http_body_util::Full;
    use hyper::body::Incoming;
    use hyper::service::service_fn;
    use hyper_util::rt::TokioIo;
    use serde_json::json;
    use tokio::net::TcpListener;

    use super::*;
    use crate::oidc::testing::Signer;

    const URL: &str = "https://oidc.example/id/EX";

    /// An issuer on plain HTTP whose key set can be changed.
    struct Server {
        base: String,
        jwks: Arc<Mutex<String>>,
        asked: Arc<AtomicUsize>,
    }

    async fn serve(jwks: String) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let server = Server {
            base,
            jwks: Arc::new(Mutex::new(jwks)),
            asked: Arc::new(AtomicUsize::new(0)),
        };
        let (jwks, asked) = (server.jwks.clone(), server.asked.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (jwks, asked) = (jwks.clone(), asked.clone());
                let service = service_fn(move |request: Request<Incoming>| {
                    let body = match request.uri().path() {
                        "/.well-known/openid-configuration" => {
                            json!({"issuer": URL, "jwks_uri": format!("{URL}/keys")}).to_string()
                        }
                        _ => {
                            asked.fetch_add(1, Ordering::SeqCst);
                            jwks.lock().clone()
                        }
                    };
                    async move { Ok::<_, std::convert::Infallible>(Response::new(Full::new(Bytes::from(body)))) }
                });
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        server
    }

    fn keys(base: &str) -> Keys {
        let documents = IssuerDocuments::Fetch {
            base_url: Some(base.to_owned()),
            ca_pem: None,
            bearer_token: None,
        };
        Keys::new(URL, &documents).unwrap()
    }

    #[tokio::test]
    async fn keys_are_fetched_once_and_a_rotated_key_is_picked_up() {
        let old = Signer::new("ES256", "old");
        let server = serve(old.jwks()).await;
        let keys = keys(&server.base);
        for _ in 0..10 {
            keys.verify(&Token::parse(&old.sign(&json!({}))).unwrap())
                .await
                .unwrap();
        }
        assert_eq!(server.asked.load(Ordering::SeqCst), 1);
        let new = Signer::new("ES256", "new");
        *server.jwks.lock() = new.jwks();
        keys.verify(&Token::parse(&new.sign(&json!({}))).unwrap())
            .await
            .unwrap();
        assert_eq!(server.asked.load(Ordering::SeqCst), 2);
        let old_token = old.sign(&json!({}));
        assert_eq!(
            keys.verify(&Token::parse(&old_token).unwrap()).await,
            Err(KeyLookupError::NoKey)
        );
    }

    #[tokio::test]
    async fn tokens_with_invented_key_ids_do_not_make_an_issuer_busy() {
        let signer = Signer::new("ES256", "k");
        let server = serve(signer.jwks()).await;
        let keys = keys(&server.base);
        keys.verify(&Token::parse(&signer.sign(&json!({}))).unwrap())
            .await
            .unwrap();
        let stranger = Signer::new("ES256", "invented");
        for _ in 0..200 {
            let text = stranger.sign(&json!({}));
            assert_eq!(
                keys.verify(&Token::parse(&text).unwrap()).await,
                Err(KeyLookupError::NoKey)
            );
        }
        let asked = server.asked.load(Ordering::SeqCst);
        assert!(asked < 20, "{asked} fetches for 200 tokens");
    }

    #[tokio::test]
    async fn many_tokens_at_the_start_cost_one_fetch() {
        let signer = Signer::new("ES256", "k");
        let server = serve(signer.jwks()).await;
        let keys = Arc::new(keys(&server.base));
        let text = Arc::new(signer.sign(&json!({})));
        let tasks: Vec<_> = (0..20)
            .map(|_| {
                let (keys, text) = (keys.clone(), text.clone());
                tokio::spawn(async move { keys.verify(&Token::parse(&text).unwrap()).await })
            })
            .collect();
        for task in tasks {
            task.await.unwrap().unwrap();
        }
        assert_eq!(server.asked.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn an_issuer_that_is_away_or_answers_nonsense_is_told_apart() {
        let signer = Signer::new("ES256", "k");
        let text = signer.sign(&json!({}));
        let token = Token::parse(&text).unwrap();
        let closed = TcpListener::bind("127.0.0.1:0")
            .await
            .unwrap()
            .local_addr()
            .unwrap();
        let error = keys(&format!("http://{closed}"))
            .verify(&token)
            .await
            .unwrap_err();
        assert!(
            matches!(error, KeyLookupError::Fetch(FetchError::Unreachable { .. })),
            "{error}"
        );
        let server = serve("<html>".to_owned()).await;
        let error = keys(&server.base).verify(&token).await.unwrap_err();
        assert!(
            matches!(error, KeyLookupError::Fetch(FetchError::Unusable { .. })),
            "{error}"
        );
        let huge = serve(format!("{{\"keys\":[],\"x\":\"{}\"}}", "y".repeat(300 * 1024))).await;
        let error = keys(&huge.base).verify(&token).await.unwrap_err();
        assert!(
            matches!(error, KeyLookupError::Fetch(FetchError::Unusable { .. })),
            "{error}"
        );
    }
}
