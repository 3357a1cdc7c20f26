//! A layer that puts the token on a request, and takes off whatever stood in its place.
//!
//! The only caller of the secret's one exit. Set, never merged: a request leaves with exactly one `Authorization`.

use std::sync::Arc;
use std::task::{Context, Poll};

use http::Request;
use http::header::{AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION};
use tower::Service;

use crate::secret::Secret;

/// Sets `Authorization` from the secret, read anew for every request.
#[derive(Debug, Clone)]
pub(super) struct Credentials<S> {
    inner: S,
    token: Arc<Secret>,
}

impl<S> Credentials<S> {
    pub(super) fn new(inner: S, token: Arc<Secret>) -> Self {
        Self { inner, token }
    }
}

impl<S, B> Service<Request<B>> for Credentials<S>
where
    S: Service<Request<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let headers = request.headers_mut();
        headers.remove(COOKIE);
        headers.remove(PROXY_AUTHORIZATION);
        headers.insert(AUTHORIZATION, self.token.bearer());
        self.inner.call(request)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use tower::{ServiceExt, service_fn};

    use super::*;

    #[tokio::test]
    async fn a_request_leaves_with_our_credential_and_no_other() {
        let token = Arc::new(Secret::parse(b"mon_test_0123456789abcdef".to_vec()).unwrap());
        let echo =
            service_fn(|request: Request<()>| async move { Ok::<_, Infallible>(request.into_parts().0.headers) });
        let request = Request::builder()
            .header(AUTHORIZATION, "Bearer theirs")
            .header(AUTHORIZATION, "Basic theirs")
            .header(PROXY_AUTHORIZATION, "Basic theirs")
            .header(COOKIE, "session=theirs")
            .body(())
            .unwrap();
        let sent = Credentials::new(echo, token).oneshot(request).await.unwrap();
        assert_eq!(sent.len(), 1);
        assert_eq!(sent[AUTHORIZATION], "Bearer mon_test_0123456789abcdef");
        assert!(sent[AUTHORIZATION].is_sensitive());
    }
}
