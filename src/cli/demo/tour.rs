//! The tour: five stops, each a promise of the gateway's and the numbers that keep it.
//!
//! Refuses to go on when a number is not what was promised: a demo that lies is worse than none.

use std::io::Write;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use monigate::monime::{Final, SessionId, SpaceId};
use monigate::sandbox::{Fault, Sandbox};
use tokio::time::{Instant, sleep};

use super::super::plain;
use super::pen::Pen;
use super::{Places, SPACE, Trouble};

/// How many ask at once on the third stop.
const CROWD: usize = 100;
/// How long the payer of the fourth stop takes, and how often somebody asks meanwhile.
const PAYER: Duration = Duration::from_millis(1500);
const POLL: Duration = Duration::from_millis(700);

/// The tour and what it walks through.
pub(super) struct Tour<'a, W> {
    pen: &'a mut Pen<W>,
    sandbox: &'a Sandbox,
    places: &'a Places,
    space: SpaceId,
}

/// One answer of the gateway's.
struct Seen {
    response: Response<Bytes>,
    took: Duration,
}

impl<'a, W: Write> Tour<'a, W> {
    pub(super) fn new(pen: &'a mut Pen<W>, sandbox: &'a Sandbox, places: &'a Places) -> Result<Self, Trouble> {
        Ok(Self { pen, sandbox, places, space: SpaceId::parse(SPACE)? })
    }

    pub(super) async fn give(&mut self) -> Result<(), Trouble> {
        self.pen.title("monigate: ask Monime once, answer everyone")?;
        self.pen.say(
            "This is a tour in one process: a sandbox that plays Monime (it is NOT Monime, and no money moves),\n\
             and a gateway in front of it. All requests go over loopback sockets.",
        )?;
        self.remembered().await?;
        self.crowd().await?;
        self.pending().await?;
        self.refused().await?;
        self.counted().await
    }

    /// A settled session: a miss, then hits with the same bytes.
    async fn remembered(&mut self) -> Result<(), Trouble> {
        self.pen.title("1. A settled session is asked for once")?;
        let id = self.paid();
        self.pen.quietly(&format!("   session {id} is paid"))?;
        let before = self.calls();
        let miss = self.look_up(&id).await?;
        self.row("first lookup", &miss, "asked the sandbox, and kept the answer")?;
        let hit = self.look_up(&id).await?;
        self.row("second lookup", &hit, "from memory")?;
        let again = self.look_up(&id).await?;
        self.row("third lookup", &again, "from memory")?;
        let calls = self.calls() - before;
        expect(calls == 1, "three lookups cost one call")?;
        expect(miss.response.body() == hit.response.body(), "a hit has the bytes of the miss")?;
        self.pen.say(&format!(
            "   3 lookups, {calls} call to the sandbox; the {} bytes are the same each time.",
            hit.response.body().len()
        ))?;
        Ok(())
    }

    /// A hundred at once: one call.
    async fn crowd(&mut self) -> Result<(), Trouble> {
        self.pen.title("2. A crowd that asks at once costs one call")?;
        let id = self.paid();
        // Long enough that all of them ask before the answer is there.
        let slow = Duration::from_millis(300);
        self.sandbox.play_for(&id, Fault::Latency(slow), 1);
        self.pen.quietly(&format!("   session {id} is paid; the sandbox takes {} ms this time", slow.as_millis()))?;
        let before = self.calls();
        let started = Instant::now();
        let answers = join_all((0..CROWD).map(|_| self.look_up(&id))).await;
        let took = started.elapsed();
        let answers = answers.into_iter().collect::<Result<Vec<_>, _>>()?;
        let ok = answers.iter().filter(|seen| seen.response.status() == StatusCode::OK).count();
        let joined = answers.iter().filter(|seen| seen.outcome() == "joined").count();
        let calls = self.calls() - before;
        expect(ok == CROWD && calls == 1, "a crowd costs one call")?;
        let meaning = format!("{ok} answers: {joined} joined the flight of the first");
        self.pen.row(&format!("{CROWD} lookups at once"), "joined", &milliseconds(took), &meaning)?;
        self.pen.say(&format!("   {CROWD} lookups, {calls} call to the sandbox."))?;
        Ok(())
    }

    /// A pending session is never kept, until it is completed.
    async fn pending(&mut self) -> Result<(), Trouble> {
        self.pen.title("3. A pending session is never kept, and becomes a completed one")?;
        let id = self.sandbox.create_settling(&self.space, Some((PAYER, Final::Completed)));
        self.pen.quietly(&format!("   session {id} waits for its payer, who pays in {} ms", PAYER.as_millis()))?;
        let before = self.calls();
        let mut polls = 0;
        loop {
            let seen = self.look_up(&id).await?;
            polls += 1;
            if seen.outcome() != "pending" {
                self.row("the payer has paid", &seen, "completed, and kept from now on")?;
                break;
            }
            let after = seen.response.headers().get("monigate-poll-after").and_then(|value| value.to_str().ok());
            let meaning = format!("not kept; Monigate-Poll-After: {}", after.unwrap_or("(missing)"));
            self.row("still pending", &seen, &meaning)?;
            expect(polls < 20, "a pending session completes")?;
            sleep(POLL).await;
        }
        let hit = self.look_up(&id).await?;
        self.row("one more lookup", &hit, "from memory")?;
        expect(hit.outcome() == "hit", "a completed session is kept")?;
        let calls = self.calls() - before;
        self.pen.say(&format!("   {} lookups, {calls} calls: as long as it is pending, each one asks.", polls + 1))?;
        Ok(())
    }

    /// What callers cannot do.
    async fn refused(&mut self) -> Result<(), Trouble> {
        self.pen.title("4. What is not a lookup is refused, and never reaches Monime")?;
        let before = self.calls();
        for (method, target, meaning) in [
            ("POST", "/v1/payouts", "no caller can pay out money through this gateway"),
            ("GET", "/v1/payments/pay-1", "nor read what it was not opened for"),
            ("PUT", "/v1/checkout-sessions/x", "nor do what Monime does not know"),
        ] {
            let seen = self.ask(method, target).await?;
            self.row(&format!("{method} {target}"), &seen, meaning)?;
        }
        expect(self.calls() == before, "refusals cost no call")?;
        Ok(())
    }

    /// The metrics that tell all this.
    async fn counted(&mut self) -> Result<(), Trouble> {
        self.pen.title("5. The metrics tell it")?;
        let request = Request::builder().uri("/metrics").body(Full::default())?;
        let metrics = plain::ask(&self.places.admin, request).await?;
        let text = String::from_utf8_lossy(metrics.body()).into_owned();
        let told = ["monigate_requests_total", "monigate_upstream_requests_total", "monigate_cache_entries"];
        for line in text.lines().filter(|line| told.iter().any(|name| line.starts_with(name))) {
            self.pen.quietly(&format!("   {line}"))?;
        }
        let asked = sum(&text, "monigate_upstream_requests_total");
        let answered = sum(&text, "monigate_requests_total{code=\"200\"");
        expect(asked == self.calls(), "the gateway counts what the sandbox counts")?;
        self.pen.say(&format!("   {answered} answers to callers cost {asked} calls; the sandbox counted the same."))?;
        Ok(())
    }

    /// What to try next.
    pub(super) fn invite(&mut self) -> Result<(), Trouble> {
        let Places { sandbox, gateway, admin } = self.places;
        let id = self.paid();
        let open = self.sandbox.create_settling(&self.space, None);
        self.pen.title("It stays up until Ctrl-C. Try:")?;
        self.pen.say(&format!(
            "   curl -i http://{gateway}/v1/checkout-sessions/{id}      # a paid session: twice\n   \
             curl -i http://{gateway}/v1/checkout-sessions/{open}      # a pending one\n   \
             curl -X POST {sandbox}/_sandbox/sessions/{open}/settle -d '{{\"outcome\":\"completed\"}}'\n   \
             curl -s http://{admin}/metrics | grep -E '^monigate_.*_total'\n   \
             curl -s http://{admin}/config\n   \
             curl -X POST http://{admin}/purge -H 'Content-Type: application/json' -d '{{\"all\":true}}'"
        ))?;
        Ok(())
    }

    /// A session that its payer has paid for.
    fn paid(&self) -> SessionId {
        let id = self.sandbox.create_settling(&self.space, None);
        self.sandbox.settle(&id, Final::Completed);
        id
    }

    /// Calls that reached the sandbox so far.
    fn calls(&self) -> u64 {
        self.sandbox.seen().requests
    }

    async fn look_up(&self, id: &SessionId) -> Result<Seen, Trouble> {
        self.ask("GET", &format!("/v1/checkout-sessions/{id}")).await
    }

    async fn ask(&self, method: &str, target: &str) -> Result<Seen, Trouble> {
        let request = Request::builder().method(method).uri(target).body(Full::<Bytes>::default())?;
        let started = Instant::now();
        let response = plain::ask(&self.places.gateway, request).await?;
        Ok(Seen { response, took: started.elapsed() })
    }

    fn row(&mut self, what: &str, seen: &Seen, meaning: &str) -> Result<(), Trouble> {
        let status = seen.response.status().as_u16();
        let how = format!("{status} {}", seen.outcome());
        Ok(self.pen.row(what, &how, &milliseconds(seen.took), meaning)?)
    }
}

impl Seen {
    /// The outcome, read off `Cache-Status` as any client can.
    fn outcome(&self) -> &'static str {
        let told = self.response.headers().get("cache-status").and_then(|value| value.to_str().ok());
        match told.unwrap_or_default() {
            told if told.contains("; hit") => "hit",
            told if told.contains("collapsed") => "joined",
            told if told.contains("detail=pending") => "pending",
            told if told.contains("fwd=miss") => "miss",
            _ => "refused",
        }
    }
}

fn expect(kept: bool, promise: &str) -> Result<(), Trouble> {
    if kept { Ok(()) } else { Err(format!("this was promised and is not so: {promise}").into()) }
}

fn milliseconds(took: Duration) -> String {
    format!("{:.2} ms", took.as_secs_f64() * 1000.0)
}

/// The sum of all series whose line begins like this.
fn sum(metrics: &str, beginning: &str) -> u64 {
    metrics
        .lines()
        .filter(|line| line.starts_with(beginning))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
        .sum()
}
