//! Stand-in until the real one lands.
use http::HeaderValue;
/// S
#[derive(Debug)]
pub struct Secret(String);
impl Secret {
    /// p
    pub fn parse(b: zeroize::Zeroizing<Vec<u8>>) -> Result<Self, String> {
        String::from_utf8(b.to_vec()).map(Self).map_err(|e| e.to_string())
    }
    /// b
    pub fn bearer(&self) -> HeaderValue {
        let mut v = HeaderValue::from_str(&format!("Bearer {}", self.0)).unwrap_or(HeaderValue::from_static(""));
        v.set_sensitive(true);
        v
    }
    /// r
    pub fn is_reflected_in(&self, b: &[u8]) -> bool {
        memchr::memmem::find(b, self.0.as_bytes()).is_some()
    }
    /// k
    pub fn kind(&self) -> crate::monime::TokenKind {
        crate::monime::TokenKind::of(&self.0)
    }
}
