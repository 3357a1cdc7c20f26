//! A layer that puts the space's token on a request, and takes off whatever stood in its place.
//!
//! The only caller of the secret's one exit. Set, never merged: a request leaves with exactly one `Authorization`, or
//! not at all. The token is looked up when the request leaves, and goes up again beside the answer, so that the answer
//! is held against the very token that it was asked for with.

use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use http::header::{AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION};
use http::{Request, Response, StatusCode};
use tower::Service;

use super::Failure;
use crate::monime::SpaceId;
use crate::secret::{Keyring, Secret};

/// Sets `Authorization` for the [`SpaceId`] among the request's extensions, and notes whether Monime accepted it.
#[derive(Debug, Clone)]
pub(super) struct Credentials<S> {
    inner: S,
    keyring: Arc<Keyring>,
}

/// The token that a request was sent with, among the extensions of its answer.
#[derive(Debug, Clone)]
pub(super) struct SentWith(pub(super) Arc<Secret>);

impl<S> Credentials<S> {
    pub(super) fn new(inner: S, keyring: Arc<Keyring>) -> Self {
        Self { inner, keyring }
    }
}

impl<S, B, R> Service<Request<B>> for Credentials<S>
where
    S: Service<Request<B>, Response = Response<R>, Error = Failure>,
    S::Future: Send + 'static,
{
    type Response = Response<R>;
    type Error = Failure;
    type Future = BoxFuture<'static, Result<Response<R>, Failure>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let space: Option<SpaceId> = request.extensions_mut().remove();
        let held = space.and_then(|space| self.keyring.token(&space).map(|token| (space, token)));
        let Some((space, token)) = held else {
            return Box::pin(async { Err(Failure::NoToken) });
        };
        let headers = request.headers_mut();
        headers.remove(COOKIE);
        headers.remove(PROXY_AUTHORIZATION);
        headers.insert(AUTHORIZATION, token.bearer());
        let response = self.inner.call(request);
        let keyring = Arc::clone(&self.keyring);
        Box::pin(async move {
            let mut response = response.await?;
            keyring.refused(&space, &token, response.status() == StatusCode::UNAUTHORIZED);
            response.extensions_mut().insert(SentWith(token));
            Ok(response)
        })
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use tower::{ServiceExt, service_fn};

    use super::*;
    use crate::secret::Source;

    const TOKEN: &str = "mon_test_0123456789abcdef";

    fn space(id: &str) -> SpaceId {
        SpaceId::parse(id).unwrap()
    }

    fn keyring() -> Arc<Keyring> {
        let secret = Secret::parse(TOKEN.as_bytes().to_vec()).unwrap();
        Arc::new(Keyring::new([(space("spc-a"), Source::environment(secret))], false))
    }

    fn request() -> http::request::Builder {
        Request::builder()
            .header(AUTHORIZATION, "Bearer theirs")
            .header(AUTHORIZATION, "Basic theirs")
            .header(PROXY_AUTHORIZATION, "Basic theirs")
            .header(COOKIE, "session=theirs")
    }

    #[tokio::test]
    async fn a_request_leaves_with_our_credential_and_no_other() {
        let echo = service_fn(|request: Request<()>| async move {
            assert!(request.extensions().is_empty(), "what is ours goes no further");
            Ok(Response::new(request.into_parts().0.headers))
        });
        let request = request().extension(space("spc-a")).body(()).unwrap();
        let mut answer = Credentials::new(echo, keyring()).oneshot(request).await.unwrap();
        let sent: &HeaderMap = answer.body();
        assert_eq!(sent.len(), 1);
        assert_eq!(sent[AUTHORIZATION], format!("Bearer {TOKEN}"));
        assert!(sent[AUTHORIZATION].is_sensitive());
        let SentWith(token) = answer.extensions_mut().remove().unwrap();
        assert!(token.is_reflected_in(TOKEN.as_bytes()));
    }

    #[tokio::test]
    async fn a_space_without_a_token_sends_nothing() {
        let wire = service_fn(|_: Request<()>| async { panic!("it was sent") as Result<Response<()>, Failure> });
        for request in [request().extension(space("spc-nobodys")), request()] {
            let failure = Credentials::new(wire, keyring()).oneshot(request.body(()).unwrap()).await.unwrap_err();
            assert!(matches!(failure, Failure::NoToken), "{failure:?}");
        }
    }

    #[tokio::test]
    async fn a_refusal_is_noted_until_the_next_answer_that_is_none() {
        let keyring = keyring();
        for (status, refused) in [(200, false), (401, true), (401, true), (403, false), (401, true), (500, false)] {
            let answer = move |_: Request<()>| async move { Ok(Response::builder().status(status).body(()).unwrap()) };
            let wire = service_fn(answer);
            let request = request().extension(space("spc-a")).body(()).unwrap();
            Credentials::new(wire, Arc::clone(&keyring)).oneshot(request).await.unwrap();
            assert_eq!(keyring.health().next().unwrap().1.refused, refused, "{status}");
        }
    }
}
