//! What the operator of a server does with the page: finds files by their names, sees what is wrong, and settles it.

use super::{open_tab, parse, press_row, serve_open};
use crate::browser::Browser;
use crate::common::{World, http, http_body, text, token};
use ibgib::Value;
use thirtyfour::Key;

/// Two devices of one folder whose people changed the same line; the server has the conflict.
fn disagree(world: &World, url: &str) {
    world.write("alice/notes.txt", "# Shopping\nmilk\nthe end\n");
    world.write("alice/plans/autumn.txt", "walk\n");
    world.run(&["init", "alice", "--remote", url]).ok();
    world.run(&["-C", "alice", "sync"]).ok();
    world.run(&["clone", url, "bob"]).ok();
    world.write("alice/notes.txt", "# Shopping\napples\nthe end\n");
    world.write("bob/notes.txt", "# Shopping\nbread\nthe end\n");
    world.run(&["-C", "alice", "sync"]).ok();
    world.run(&["-C", "bob", "sync"]).expect(3);
}

async fn open_details(browser: &Browser, css: &str) {
    let body = format!("const d = document.querySelector({css:?}); if (d) d.open = true; return Boolean(d)");
    browser.until(css, &body).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_go_by_their_names_and_are_found_by_name_and_address() {
    let world = World::new();
    let (server, page) = serve_open(&world);
    // A name that would turn the text after it around, and one that would colour a terminal.
    let evil = "bill\u{202e}fdp.exe\u{1b}[31m";
    world.write("alice/notes.txt", "one\n");
    world.write("alice/plans/autumn.txt", "walk\n");
    world.write(&format!("alice/{evil}"), "two\n");
    world.run(&["init", "alice", "--remote", &server.url]).ok();
    world.run(&["-C", "alice", "sync"]).ok();
    let browser = Browser::open_tools(&page).await;
    open_tab(&browser, "timelines").await;
    let names = "return [...document.querySelectorAll('#timelines-list .choice .named')].map((e) => e.textContent)";
    browser.until("names", &format!("return (() => {{ {names} }})().length >= 3")).await;
    let listed = browser.js(names).await.to_string();
    for name in ["notes.txt", "plans/autumn.txt", r"bill\\u{202e}fdp.exe\\u{1b}[31m"] {
        assert!(listed.contains(name), "{name} in {listed}");
    }
    let whole = browser.js("return document.documentElement.innerText").await;
    assert!(!whole.as_str().unwrap().contains(['\u{202e}', '\u{1b}']), "{whole}");

    // By part of the name, whatever panel is open; then by the address of one of its frames.
    open_tab(&browser, "events").await;
    browser.keys("/").await;
    assert_eq!(browser.js("return document.activeElement.id").await, "search");
    browser.keys("AUTUMN").await;
    let one = "const all = document.querySelectorAll('#timelines-list .choice'); \
               return all.length === 1 && all[0].querySelector('.named').textContent === 'plans/autumn.txt'";
    browser.until("one file", one).await;
    assert_eq!(browser.text("#timelines-count").await, "1 timeline");
    browser.js("document.querySelector('#timelines-list .choice').click()").await;
    browser
        .until("its name", "return document.getElementById('timeline-name')?.textContent === 'plans/autumn.txt'")
        .await;
    let first = "return [...document.querySelectorAll('#dag .frame')].at(-1)?.getAttribute('data-addr')";
    let first = browser.until("its first frame", first).await.as_str().unwrap().to_owned();
    browser.fill("search", "no such thing").await;
    browser
        .until(
            "nothing",
            "return /has .no such thing. in its name/.test(document.getElementById('timelines-list').textContent)",
        )
        .await;
    browser.fill("search", &first).await;
    browser.until("the file again", one).await;
    let node = "return document.getElementById('frame-hash')?.textContent === 'hash ✓' && \
                document.querySelector('#frame-view .addr').title.startsWith(document.getElementById('search').value)";
    browser.until("the frame", node).await;
    browser.fill("search", "").await;
    browser.until("all", &format!("return (() => {{ {names} }})().length >= 3")).await;
    browser.is_quiet().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conflict_is_the_first_thing_to_be_seen_and_is_settled_on_the_page() {
    let world = World::new();
    let (server, page) = serve_open(&world);
    let browser = Browser::open_tools(&page).await;
    browser.until("calm", "return /no trouble/.test(document.getElementById('trouble').textContent)").await;
    disagree(&world, &server.url);
    let told = "return /1 open conflict/.test(document.querySelector('#trouble button')?.textContent)";
    browser.until("trouble", told).await;
    browser.js("document.querySelector('#trouble button').click()").await;
    browser.until("the conflict", "return document.querySelector('#conflicts-list article')").await;
    let card = browser.text("#conflicts-list article").await;
    for part in ["notes.txt", "apples", "bread", "milk"] {
        assert!(card.contains(part), "{part} in {card}");
    }

    // News draws nothing anew that did not change: the focus and what is folded open stay.
    open_details(&browser, "#conflicts-list details").await;
    let base = "return document.querySelector('#conflicts-list .settle button').id";
    let base = browser.js(base).await.as_str().unwrap().to_owned();
    browser
        .js(&format!("document.getElementById({base:?}).focus(); window.before = document.getElementById({base:?})"))
        .await;
    let looks = "const real = window.fetch; window.looks = 0; window.fetch = async (url, options) => { \
                 const answer = await real(url, options); if (String(url).endsWith('/conflicts')) window.looks += 1; return answer; }";
    browser.js(looks).await;
    world.write("alice/more.txt", "more\n");
    world.run(&["-C", "alice", "sync"]);
    // Both who show conflicts have looked again.
    browser.until("the news", "return window.looks >= 2").await;
    assert_eq!(browser.js("return document.activeElement === window.before && document.querySelector('#conflicts-list details').open").await, true);

    let chosen = browser.js("return document.querySelectorAll('#conflicts-list .sides section')[1].textContent").await;
    let (theirs, other) =
        if chosen.as_str().unwrap().contains("apples") { ("apples", "bread") } else { ("bread", "apples") };
    browser.keys(Key::Enter).await;
    browser
        .until(
            "settled",
            "return /notes.txt settled: new frame/.test(document.getElementById('conflicts-told').textContent)",
        )
        .await;
    browser.until("no conflict", "return !document.querySelector('#conflicts-list article')").await;
    assert_eq!(browser.js("return document.activeElement.id").await, "conflicts-count");
    browser.until("calm", "return /no trouble/.test(document.getElementById('trouble').textContent)").await;
    browser.is_quiet().await;

    // It is a frame like any other: the devices receive it.
    for device in ["alice", "bob"] {
        world.run(&["-C", device, "sync"]).ok();
        let now = world.read(&format!("{device}/notes.txt"));
        assert!(now.contains(theirs) && !now.contains(other), "{device}: {now}");
        assert!(
            world.run(&["-C", device, "conflicts", "--json"]).ok().lines().iter().all(|c| c.get("stone").is_none())
        );
    }
    drop(browser);
    assert_eq!(server.stop(), Some(0));
    world.fsck(&["--space", "server"]);
}

/// Sends JSON with the page's token and answers status and body.
fn post(url: &str, path: &str, token: &str, body: &str) -> (u16, String) {
    let (status, answer) = http_body(url, "POST", path, &[("Authorization", &format!("Bearer {token}"))], body);
    (status, answer.split_once("\r\n\r\n").unwrap().1.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn settling_what_is_no_conflict_is_refused_by_name() {
    let world = World::new();
    let (server, page) = serve_open(&world);
    disagree(&world, &server.url);
    let (token, path) = (token(&page), "/dev-tools/api/spaces/server/conflicts");
    let listed = http(&server.url, "GET", path, &[("Authorization", &format!("Bearer {token}"))]).1;
    let listed = parse(listed.lines().last().unwrap());
    let [conflict] = listed.as_array().unwrap() else { panic!("{listed}") };
    assert_eq!(text(conflict, "name"), "notes.txt");
    let (tjp, stone) = (text(conflict, "tjp"), text(conflict, "stone"));
    let body =
        |tjp: &str, stone: &str, choose: &str| format!(r#"{{"tjp":{tjp:?},"stone":{stone:?},"choose":{choose:?}}}"#);
    let refused = |body: &str, status: u16, code: &str| {
        let (got, answer) = post(&server.url, path, token, body);
        assert!(got == status && answer.contains(&format!("\"code\":\"{code}\"")), "{body}: {got} {answer}");
    };
    refused("{", 400, "bad_json");
    refused("{}", 400, "bad_body");
    refused(&body(tjp, stone, "mine"), 400, "bad_body");
    refused(&body(stone, stone, "keep"), 404, "not_found");
    refused(&body(tjp, &format!("x^{}", "A".repeat(64)), "keep"), 404, "not_found");
    let (status, answer) = post(&server.url, path, token, &body(tjp, stone, "orphan"));
    assert_eq!(status, 200, "{answer}");
    assert!(parse(answer.trim()).get("frame").and_then(Value::as_str).unwrap().contains('^'));
    refused(&body(tjp, stone, "orphan"), 409, "conflict_settled");
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_are_compared_and_a_saga_falls_along_one_axis() {
    let world = World::new();
    let (server, page) = serve_open(&world);
    for text in ["one\ntwo\n", "one\nTWO\n", "one\nTWO\nthree\n"] {
        world.write("alice/notes.txt", text);
        if text == "one\ntwo\n" {
            world.run(&["init", "alice", "--remote", &server.url]).ok();
        }
        world.run(&["-C", "alice", "sync"]).ok();
    }
    let browser = Browser::open_tools(&page).await;
    browser.fill("search", "notes").await;
    let choice = "const b = document.querySelector('#timelines-list .choice'); \
                  if (b?.querySelector('.named')?.textContent !== 'notes.txt') return false; b.click(); return true";
    browser.until("the file", choice).await;
    browser.until("its frames", "return document.querySelectorAll('#dag .frame').length >= 4").await;
    browser.js("document.querySelector('#dag .frame').dispatchEvent(new MouseEvent('click'))").await;
    let marked = |kind: &str| {
        format!("[...document.querySelectorAll('#frame-diff .{kind}')].map((e) => e.textContent.trim()).join('|')")
    };
    browser.until("what changed", &format!("return /three/.test({})", marked("add"))).await;
    assert!(!browser.text("#frame-diff").await.contains("-  two"));
    // With the frame that was before the one before.
    let older = "const s = document.getElementById('frame-compare'); const o = [...s.options].find((o) => /n 1 /.test(o.textContent)); return o?.value";
    let older = browser.until("an older frame", older).await.as_str().unwrap().to_owned();
    browser.choose("frame-compare", &older).await;
    let both = format!(
        "return /two/.test({}) && /TWO/.test({}) && /three/.test({})",
        marked("del"),
        marked("add"),
        marked("add")
    );
    browser.until("more changed", &both).await;
    browser.choose("frame-compare", "").await;
    browser.until("nothing", "return document.getElementById('frame-diff').textContent === ''").await;

    open_tab(&browser, "sagas").await;
    open_details(&browser, "#sagas-list article details").await;
    browser.until("the picture", "return document.querySelector('#sagas-list .waterfall .turn')").await;
    let count = async |css: &str| browser.js(&format!("return document.querySelectorAll({css:?}).length")).await;
    assert_eq!(
        count("#sagas-list article:first-child .bytes").await,
        count("#sagas-list article:first-child tbody tr").await
    );
    let said = "return [...document.querySelectorAll('#sagas-list .waterfall .turn text')].map((t) => t.textContent).join('|')";
    let said = browser.js(said).await;
    assert!(said.as_str().unwrap().contains("turn 1 · ") && said.as_str().unwrap().contains("B in, "), "{said}");
    // All on one axis: nothing begins before a message that came earlier.
    let places = "return [...document.querySelectorAll('#sagas-list article:first-child .bytes rect')].map((r) => parseFloat(r.getAttribute('x')))";
    let places: Vec<f64> = serde_json::from_value(browser.js(places).await).unwrap();
    assert!(places.is_sorted() && places.iter().all(|x| (0.0..100.0).contains(x)), "{places:?}");
    browser.is_quiet().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_columns_scroll_apart_and_a_narrow_page_has_the_panels_first() {
    let world = World::new();
    let (_server, page) = serve_open(&world);
    let browser = Browser::open_tools(&page).await;
    for row in ["4-9b", "4-10b"] {
        press_row(&browser, row).await;
    }
    open_tab(&browser, "sagas").await;
    open_details(&browser, "#sagas-list article details").await;
    browser.look(1280, 500, false).await;
    let apart = "const [a, b] = [document.getElementById('phases'), document.getElementById('panels')]; \
                 a.scrollTop = 40; b.scrollTop = 0; const left = [a.scrollTop, b.scrollTop, scrollY]; \
                 a.scrollTop = 0; b.scrollTop = 30; return [left, [a.scrollTop, b.scrollTop, scrollY]]";
    assert_eq!(browser.js(apart).await, serde_json::json!([[40, 0, 0], [0, 30, 0]]));
    browser.look(400, 800, false).await;
    let first = "const [a, b] = [document.getElementById('inspect'), document.getElementById('phases')]; \
                 return a.getBoundingClientRect().bottom <= b.getBoundingClientRect().top && a.nextElementSibling === b";
    browser.until("the panels first", first).await;
    browser.press("jump-phases").await;
    assert_eq!(browser.js("return document.activeElement.id").await, "phases");
    browser.look(1280, 900, false).await;
    browser
        .until("the rows first", "return document.getElementById('phases').nextElementSibling.id === 'inspect'")
        .await;
    // Signs are drawn, so that no font has to have them.
    let drawn = "return [...document.querySelectorAll('.glyph')].every((g) => getComputedStyle(g).fontSize === '0px') && document.querySelectorAll('.glyph').length > 3";
    assert_eq!(browser.js(drawn).await, true);
}

#[tokio::test(flavor = "multi_thread")]
async fn doors_show_what_they_keep_as_it_changes_and_no_secret() {
    let world = World::new();
    let (server, page) = world.serve_tools("127.0.0.1:0", &["open"]);
    let browser = Browser::open_tools(&page).await;
    open_tab(&browser, "doors").await;
    browser.until("none", "return /No door is open/.test(document.getElementById('doors-list').textContent)").await;
    drop(browser);
    server.stop();

    let doors = ["open", "--door", "vault", "--vault-admit", "all", "--door", "mailbox"];
    let (server, page) = world.serve_tools("127.0.0.1:0", &doors);
    let post = |path: &str, body: &str| {
        let (status, answer) = http_body(&server.url, "POST", &format!("/api/3{path}"), &[], body);
        assert!((200..300).contains(&status), "{answer}");
        answer.split_once("\r\n\r\n").unwrap().1.to_owned()
    };
    let browser = Browser::open_tools(&page).await;
    open_tab(&browser, "doors").await;
    browser.until("empty", "return document.querySelectorAll('#doors-list article').length === 2").await;
    let seed = "ab".repeat(32);
    let account = |secret: &str| format!(r#"{{"email":"joe@example.com","password":"{secret}","#);
    post("/signup", &format!(r#"{}"clientSaltSeed":"{seed}"}}"#, account("the-password")));
    let given = post("/auth/full", &format!(r#"{}"deviceId":"the-laptop"}}"#, account("the-password")));
    let row = |wanted: &str| {
        format!(
            "return [...document.querySelectorAll('#door-vault tbody td')].map((c) => c.textContent).join('|') === {wanted:?}"
        )
    };
    browser.until("the account", &row("joe@example.com|verified|0|1|0|0")).await;
    let given = parse(&given);
    let given = text(&given, "token");
    let wallet = format!(r#"{{"token":"{given}","encryptedWallet":"the-wallet","sequence":1,"hmac":"the-hmac"}}"#);
    post("/wallet", &wallet);
    browser.until("the sequence", &row("joe@example.com|verified|1|1|0|0")).await;
    let shown = browser.js("return document.documentElement.outerHTML").await.to_string();
    for secret in ["the-password", &seed, given, "the-wallet", "the-hmac"] {
        assert!(!shown.contains(secret), "{secret}");
    }
    browser.is_quiet().await;
}
