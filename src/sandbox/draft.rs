//! What a create asks for: the body of `POST /v1/checkout-sessions`, checked field by field.
//!
//! Owns naming the first field that is wrong, so that an integration learns it here and not with real money. Refuses
//! to know more than Monime documents: fields it does not know are ignored, as Monime's own clients send some.

use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value};

use super::session::outcome;
use crate::monime::Final;

/// Monime documents 64 keys of metadata.
const MAX_METADATA: usize = 64;
/// As many line items as the sandbox takes.
const MAX_LINE_ITEMS: usize = 16;
/// Characters of a name or a URL; above what any real one needs.
const MAX_TEXT: usize = 2048;
/// The metadata key that says how a session will settle.
const OUTCOME: &str = "sandbox.outcome";
/// The metadata key that says after how long it will.
const SETTLE_AFTER: &str = "sandbox.settle_after";

/// A checkout session as its creator described it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Draft {
    pub(super) name: String,
    pub(super) order_number: Option<String>,
    pub(super) reference: Option<String>,
    pub(super) description: Option<String>,
    pub(super) redirect_url: Option<String>,
    pub(super) cancel_url: Option<String>,
    pub(super) success_url: Option<String>,
    pub(super) line_items: Vec<LineItem>,
    pub(super) financial_account_id: Option<String>,
    pub(super) branding_options: Option<Value>,
    pub(super) metadata: Map<String, Value>,
    /// How this session settles, where that differs from the sandbox's setting.
    pub(super) outcome: Option<Final>,
    /// After how long this session settles, where that differs from the sandbox's setting.
    pub(super) settle_after: Option<Duration>,
}

/// One thing that is paid for.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct LineItem {
    #[serde(rename = "type")]
    kind: &'static str,
    /// Set when the session is made.
    pub(super) id: String,
    name: String,
    price: Price,
    quantity: u64,
    reference: Option<String>,
    description: Option<String>,
    images: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
struct Price {
    currency: String,
    value: u64,
}

/// The first field that is wrong, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Invalid {
    pub(super) field: String,
    pub(super) rule: &'static str,
}

/// One JSON object and where it stands in the body.
struct Fields<'a> {
    map: &'a Map<String, Value>,
    path: String,
}

// === impl Draft ===

impl Draft {
    /// Reads the body of a create.
    pub(super) fn parse(body: &[u8]) -> Result<Self, Invalid> {
        let value: Value = serde_json::from_slice(body).map_err(|_| Invalid::new("", "the body must be JSON"))?;
        let fields = Fields::of(&value, String::new())?;
        let metadata = fields.metadata()?;
        Ok(Self {
            name: fields.required("name")?,
            order_number: fields.text("orderNumber")?,
            reference: fields.text("reference")?,
            description: fields.text("description")?,
            redirect_url: fields.url("redirectUrl")?,
            cancel_url: fields.url("cancelUrl")?,
            success_url: fields.url("successUrl")?,
            line_items: fields.line_items()?,
            financial_account_id: fields.text("financialAccountId")?,
            branding_options: fields.given("brandingOptions").cloned(),
            outcome: directive(&metadata, OUTCOME, "must be `completed`, `cancelled` or `expired`", outcome)?,
            settle_after: directive(&metadata, SETTLE_AFTER, "must be a duration such as `3s`", |text| {
                humantime::parse_duration(text).ok()
            })?,
            metadata,
        })
    }

    /// A session that nobody described: made by a test or a seed.
    pub(super) fn plain() -> Self {
        let price = Price { currency: "SLE".to_owned(), value: 1000 };
        let item = LineItem {
            kind: "custom",
            id: "lit-000000000000000000000000000".to_owned(),
            name: "Sandbox item".to_owned(),
            price,
            quantity: 1,
            reference: None,
            description: None,
            images: Vec::new(),
        };
        Self {
            name: "Sandbox session".to_owned(),
            order_number: None,
            reference: None,
            description: None,
            redirect_url: None,
            cancel_url: None,
            success_url: None,
            line_items: vec![item],
            financial_account_id: None,
            branding_options: None,
            metadata: Map::new(),
            outcome: None,
            settle_after: None,
        }
    }
}

// === impl Invalid ===

impl Invalid {
    fn new(field: impl Into<String>, rule: &'static str) -> Self {
        Self { field: field.into(), rule }
    }
}

// === impl Fields ===

impl<'a> Fields<'a> {
    fn of(value: &'a Value, path: String) -> Result<Self, Invalid> {
        match value.as_object() {
            Some(map) => Ok(Self { map, path }),
            None => Err(Invalid::new(path, "must be an object")),
        }
    }

    fn path(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    fn wrong<T>(&self, name: &str, rule: &'static str) -> Result<T, Invalid> {
        Err(Invalid::new(self.path(name), rule))
    }

    /// A value that is there and not null.
    fn given(&self, name: &str) -> Option<&'a Value> {
        self.map.get(name).filter(|value| !value.is_null())
    }

    fn text(&self, name: &str) -> Result<Option<String>, Invalid> {
        match self.given(name).map(Value::as_str) {
            None => Ok(None),
            Some(Some(text)) if (1..=MAX_TEXT).contains(&text.len()) => Ok(Some(text.to_owned())),
            Some(_) => self.wrong(name, "must be a text of 1 to 2048 bytes"),
        }
    }

    fn required(&self, name: &str) -> Result<String, Invalid> {
        match self.text(name)? {
            Some(text) => Ok(text),
            None => self.wrong(name, "is required"),
        }
    }

    fn url(&self, name: &str) -> Result<Option<String>, Invalid> {
        let text = self.text(name)?;
        let absolute = |text: &String| {
            text.parse::<http::Uri>().is_ok_and(|uri| matches!(uri.scheme_str(), Some("http" | "https")))
        };
        if text.as_ref().is_none_or(absolute) { Ok(text) } else { self.wrong(name, "must be an http or https URL") }
    }

    fn whole(&self, name: &str) -> Result<u64, Invalid> {
        match self.given(name).and_then(Value::as_u64) {
            Some(number) if number > 0 => Ok(number),
            _ => self.wrong(name, "must be a whole number of at least 1"),
        }
    }

    fn metadata(&self) -> Result<Map<String, Value>, Invalid> {
        match self.given("metadata") {
            None => Ok(Map::new()),
            Some(Value::Object(map)) if map.len() <= MAX_METADATA && map.values().all(Value::is_string) => {
                Ok(map.clone())
            }
            Some(_) => self.wrong("metadata", "must be an object of at most 64 texts"),
        }
    }

    fn line_items(&self) -> Result<Vec<LineItem>, Invalid> {
        match self.given("lineItems").and_then(Value::as_array) {
            Some(items) if (1..=MAX_LINE_ITEMS).contains(&items.len()) => {
                items.iter().enumerate().map(|(index, item)| LineItem::parse(index, item)).collect()
            }
            _ => self.wrong("lineItems", "must be an array of 1 to 16 items"),
        }
    }

    fn images(&self) -> Result<Vec<String>, Invalid> {
        let Some(images) = self.given("images") else { return Ok(Vec::new()) };
        let texts = images.as_array().and_then(|all| all.iter().map(|one| one.as_str().map(str::to_owned)).collect());
        texts.map_or_else(|| self.wrong("images", "must be an array of texts"), Ok)
    }
}

// === impl LineItem ===

impl LineItem {
    fn parse(index: usize, value: &Value) -> Result<Self, Invalid> {
        let fields = Fields::of(value, format!("lineItems[{index}]"))?;
        if fields.given("type").and_then(Value::as_str) != Some("custom") {
            return fields.wrong("type", "must be `custom`");
        }
        let price = Fields::of(fields.given("price").unwrap_or(&Value::Null), fields.path("price"))?;
        let currency = price.required("currency")?;
        if currency.len() != 3 || !currency.bytes().all(|byte| byte.is_ascii_uppercase()) {
            return price.wrong("currency", "must be three capital letters, such as `SLE`");
        }
        Ok(Self {
            kind: "custom",
            id: String::new(),
            name: fields.required("name")?,
            price: Price { currency, value: price.whole("value")? },
            quantity: fields.whole("quantity")?,
            reference: fields.text("reference")?,
            description: fields.text("description")?,
            images: fields.images()?,
        })
    }
}

fn directive<T>(
    metadata: &Map<String, Value>,
    key: &str,
    rule: &'static str,
    read: impl Fn(&str) -> Option<T>,
) -> Result<Option<T>, Invalid> {
    let Some(text) = metadata.get(key).and_then(Value::as_str) else { return Ok(None) };
    read(text).map(Some).ok_or_else(|| Invalid::new(format!("metadata[\"{key}\"]"), rule))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn good() -> Value {
        json!({"name": "Order 7", "successUrl": "https://shop.example/ok", "cancelUrl": "https://shop.example/no",
            "lineItems": [{"type": "custom", "name": "Tea", "price": {"currency": "SLE", "value": 500}, "quantity": 2}],
            "metadata": {"sandbox.outcome": "cancelled", "sandbox.settle_after": "3s"}, "callbackState": "ignored"})
    }

    #[test]
    fn a_good_body_is_taken_with_its_directives() {
        let draft = Draft::parse(good().to_string().as_bytes()).unwrap();
        assert_eq!((draft.outcome, draft.settle_after), (Some(Final::Cancelled), Some(Duration::from_secs(3))));
        assert_eq!(draft.line_items.len(), 1);
    }

    #[test]
    fn the_field_that_is_wrong_is_named() {
        for (pointer, value, field) in [
            ("/name", json!(null), "name"),
            ("/name", json!(""), "name"),
            ("/successUrl", json!("shop.example"), "successUrl"),
            ("/cancelUrl", json!("javascript:alert(1)"), "cancelUrl"),
            ("/lineItems", json!([]), "lineItems"),
            ("/lineItems", json!({"data": []}), "lineItems"),
            ("/lineItems", json!(vec![1; 17]), "lineItems"),
            ("/lineItems/0", json!(7), "lineItems[0]"),
            ("/lineItems/0/type", json!("recurring"), "lineItems[0].type"),
            ("/lineItems/0/price", json!(500), "lineItems[0].price"),
            ("/lineItems/0/price/currency", json!("leone"), "lineItems[0].price.currency"),
            ("/lineItems/0/price/value", json!(5.5), "lineItems[0].price.value"),
            ("/lineItems/0/quantity", json!(0), "lineItems[0].quantity"),
            ("/metadata", json!({"a": 1}), "metadata"),
            ("/metadata/sandbox.outcome", json!("paid"), "metadata[\"sandbox.outcome\"]"),
            ("/metadata/sandbox.settle_after", json!("soon"), "metadata[\"sandbox.settle_after\"]"),
        ] {
            let mut body = good();
            *body.pointer_mut(pointer).unwrap() = value.clone();
            let invalid = Draft::parse(body.to_string().as_bytes()).unwrap_err();
            assert_eq!(invalid.field, field, "{pointer} = {value}");
        }
        assert_eq!(Draft::parse(b"{").unwrap_err().rule, "the body must be JSON");
    }
}
