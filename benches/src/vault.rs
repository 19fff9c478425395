//! `ibgib-bench vault`: a vault's server under many sockets and many writes at once; works against any server of that protocol.
//!
//! Writes come at fixed times, whether the ones before are answered or not, so that a server that falls behind is seen:
//! a write's time counts from when it was due.

use crate::{Res, measure};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpSocket, TcpStream};
use tokio::runtime::Runtime;

/// Connections that write.
const WRITERS: usize = 50;
/// Addresses of this machine from which they come: a server may limit what one has.
const ADDRESSES: usize = 20;
/// Bytes of a document that is written.
const DOCUMENT: usize = 2_000;

/// What was asked for.
pub(crate) struct Options {
    sockets: usize,
    writes: usize,
    seconds: usize,
    accounts: usize,
    ibgib: Option<PathBuf>,
    running: Option<(String, u32)>,
}

impl Options {
    pub(crate) fn read(mut arguments: impl Iterator<Item = String>) -> Option<Self> {
        let mut out = Self { sockets: 5_000, writes: 500, seconds: 20, accounts: 250, ibgib: None, running: None };
        let (mut url, mut pid) = (None, None);
        while let Some(argument) = arguments.next() {
            let value = arguments.next()?;
            let number = || value.parse::<usize>().ok().filter(|n| *n > 0);
            match argument.as_str() {
                "--sockets" => out.sockets = number()?,
                "--writes" => out.writes = number()?,
                "--seconds" => out.seconds = number()?,
                "--accounts" => out.accounts = number()?,
                "--ibgib" => out.ibgib = Some(value.into()),
                "--url" => url = Some(value),
                "--pid" => pid = Some(value.parse().ok()?),
                _ => return None,
            }
        }
        out.running = match (url, pid) {
            (None, None) => None,
            (url, pid) => Some((url?, pid?)),
        };
        Some(out)
    }
}

/// A server of ours, killed with this.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn serve(command: &Path, space: &Path) -> Res<(Server, String)> {
    let mut serve = Command::new(command);
    serve.arg("serve").arg("--space").arg(space).args(["--policy", "open", "--listen", "127.0.0.1:0", "--quiet"]);
    serve.args(["--door", "vault", "--vault-admit", "all"]);
    let mut server = Server(serve.stdout(Stdio::piped()).spawn()?);
    let out = server.0.stdout.take().ok_or("no stdout")?;
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(out), &mut line)?;
    let url = line.trim().strip_prefix("listening ").ok_or("the server says nothing")?.to_owned();
    Ok((server, url))
}

/// Measures it, and prints what came of it.
pub(crate) fn run(options: &Options) -> Res<()> {
    let dir = tempfile::tempdir()?;
    let (server, url, pid) = match &options.running {
        Some((url, pid)) => (None, url.clone(), *pid),
        None => {
            let command = crate::command(options.ibgib.as_deref())?;
            let (server, url) = serve(&command, &dir.path().join("space"))?;
            let pid = server.0.id();
            (Some(server), url, pid)
        }
    };
    let to: SocketAddr = url.strip_prefix("http://").ok_or("the URL does not begin with http://")?.parse()?;
    let told = Runtime::new()?.block_on(load(options, to, pid));
    drop(server);
    print!("{}", told?);
    Ok(())
}

/// A connection to the server from the n-th address of this machine.
async fn connect(to: SocketAddr, n: usize) -> Res<BufReader<TcpStream>> {
    let socket = TcpSocket::new_v4()?;
    let last = 2 + u8::try_from(n % ADDRESSES)?;
    socket.bind(SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, last)), 0))?;
    let stream = socket.connect(to).await?;
    stream.set_nodelay(true)?;
    Ok(BufReader::new(stream))
}

/// The status of an answer, and how long its body is.
async fn head(stream: &mut BufReader<TcpStream>) -> Res<(u16, usize)> {
    let (mut line, mut length) = (String::new(), 0);
    stream.read_line(&mut line).await?;
    let status = line.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or("the server is gone")?;
    loop {
        line.clear();
        stream.read_line(&mut line).await?;
        let header = line.trim().to_ascii_lowercase();
        if header.is_empty() {
            return Ok((status, length));
        }
        if let Some(value) = header.strip_prefix("content-length:") {
            length = value.trim().parse()?;
        }
    }
}

async fn post(stream: &mut BufReader<TcpStream>, path: &str, body: &str) -> Res<(u16, String)> {
    let head_of = format!("POST /api/3{path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.get_mut().write_all((head_of + body).as_bytes()).await?;
    let (status, length) = head(stream).await?;
    let mut text = vec![0; length];
    stream.read_exact(&mut text).await?;
    Ok((status, String::from_utf8(text)?))
}

/// Makes an account, and logs in; the token.
async fn account(stream: &mut BufReader<TcpStream>, n: usize) -> Res<String> {
    let who = format!(r#""email":"load{n}@example.com","password":"password{n}""#);
    let (status, text) =
        post(stream, "/signup", &format!(r#"{{{who},"clientSaltSeed":"{}"}}"#, "ab".repeat(32))).await?;
    if status != 201 {
        return Err(format!("the account was not made: {status} {text}").into());
    }
    let (status, text) = post(stream, "/auth/full", &format!(r#"{{{who},"deviceId":"load"}}"#)).await?;
    let token = text.split("\"token\":\"").nth(1).and_then(|rest| rest.split('"').next());
    Ok(token.ok_or(format!("no token: {status} {text}"))?.to_owned())
}

/// Waits for notices, and counts them.
async fn listen(mut stream: BufReader<TcpStream>, notices: Arc<AtomicU64>) {
    let mut rest = [0; 127];
    loop {
        let (Ok(kind), Ok(length)) = (stream.read_u8().await, stream.read_u8().await) else { return };
        let Some(rest) = rest.get_mut(..usize::from(length)) else { return };
        if stream.read_exact(rest).await.is_err() {
            return;
        }
        if rest.starts_with(b"wallet-update:") {
            notices.fetch_add(1, Ordering::Relaxed);
        } else if kind == 0x89 && stream.get_mut().write_all(&[0x8a, 0x80, 0, 0, 0, 0]).await.is_err() {
            return;
        }
    }
}

/// Writes documents of some accounts in turn, each when it is due; how long each took, in milliseconds.
async fn write(
    mut stream: BufReader<TcpStream>,
    tokens: Vec<String>,
    began: Instant,
    every: Duration,
    count: usize,
) -> Res<Vec<f64>> {
    let (document, mut times) = ("x".repeat(DOCUMENT), Vec::new());
    for n in 0..count {
        let due = began + every.mul_f64(n as f64);
        tokio::time::sleep_until(due.into()).await;
        let (token, sequence) = (&tokens[n % tokens.len()], n / tokens.len() + 1);
        let body = format!(
            r#"{{"token":"{token}","encryptedWallet":"{document}","sequence":{sequence},"hmac":"{sequence}"}}"#
        );
        let (status, text) = post(&mut stream, "/wallet", &body).await?;
        if status != 200 {
            return Err(format!("a write was refused: {status} {text}").into());
        }
        times.push(due.elapsed().as_secs_f64() * 1_000.0);
    }
    Ok(times)
}

async fn load(options: &Options, to: SocketAddr, pid: u32) -> Res<String> {
    eprintln!("making {} accounts", options.accounts);
    let mut stream = connect(to, 0).await?;
    let mut tokens = Vec::new();
    for n in 0..options.accounts {
        tokens.push(account(&mut stream, n).await?);
    }
    eprintln!("opening {} sockets", options.sockets);
    let notices = Arc::new(AtomicU64::new(0));
    let mut listening = vec![0_u64; tokens.len()];
    for n in 0..options.sockets {
        let mut socket = connect(to, n).await?;
        let of = n % tokens.len();
        let ask = format!(
            "GET /api/3/websocket?token={} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            tokens[of]
        );
        socket.get_mut().write_all(ask.as_bytes()).await?;
        let (status, _) = head(&mut socket).await?;
        if status != 101 {
            return Err(format!("socket {n} was refused: {status}").into());
        }
        listening[of] += 1;
        tokio::spawn(listen(socket, Arc::clone(&notices)));
    }
    let memory = measure::Memory::watch(pid);
    let (cpu, began) = (measure::cpu(pid)?, Instant::now() + Duration::from_millis(100));
    let count = options.writes * options.seconds / WRITERS;
    let every = Duration::from_secs_f64(WRITERS as f64 / options.writes as f64);
    let (mut writing, mut expected) = (Vec::new(), 0);
    for writer in 0..WRITERS.min(tokens.len()) {
        let own: Vec<usize> = (writer..tokens.len()).step_by(WRITERS).collect();
        expected += (0..count).map(|n| listening[own[n % own.len()]]).sum::<u64>();
        let own = own.into_iter().map(|n| tokens[n].clone()).collect();
        let begins = began + every.mul_f64(writer as f64 / WRITERS as f64);
        writing.push(tokio::spawn(write(connect(to, writer).await?, own, begins, every, count)));
    }
    let mut times = Vec::new();
    for writer in writing {
        times.extend(writer.await??);
    }
    let took = began.elapsed().as_secs_f64();
    let cpu = measure::cpu(pid)? - cpu;
    // The last ones are on their way.
    for _ in 0..100 {
        if notices.load(Ordering::Relaxed) >= expected {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    times.sort_unstable_by(f64::total_cmp);
    let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize];
    Ok(format!(
        "sockets {}\nwrites {} in {took:.1} s, {:.0} a second\nmilliseconds: median {:.1}, p99 {:.1}, most {:.1}\n\
         notices {} of {expected}\nserver: {cpu:.1} s of CPU, {:.0} MB of memory\n",
        options.sockets,
        times.len(),
        times.len() as f64 / took,
        at(0.5),
        at(0.99),
        at(1.0),
        notices.load(Ordering::Relaxed),
        memory.most() as f64 / 1e6,
    ))
}
