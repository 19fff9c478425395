//! How a link reaches the address it is for: by the operator's command, or through the log where there is none.

use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use tokio::sync::Semaphore;

/// How long the operator's command may take.
const COMMAND_MAX: Duration = Duration::from_secs(30);
/// Commands that run at once; the rest waits.
const COMMANDS_MAX: usize = 4;

/// Sends links.
#[derive(Debug)]
pub(crate) struct Mail {
    command: Option<String>,
    places: Semaphore,
}

impl Mail {
    pub(crate) fn new(command: Option<String>) -> Self {
        Self { command, places: Semaphore::new(COMMANDS_MAX) }
    }

    /// Gives the link to the command, as `{"to","link"}` on its stdin, or prints it to the log.
    pub(crate) async fn send(&self, to: &str, link: &str) -> Result<(), String> {
        let Some(command) = &self.command else {
            tracing::info!(to, link, "the address is verified by this link");
            return Ok(());
        };
        let Ok(_place) = self.places.acquire().await else { return Err("the server shuts down".into()) };
        let sent = async {
            let mut child = Command::new("sh")
                .args(["-c", command])
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .kill_on_drop(true)
                .spawn()?;
            let message = serde_json::json!({"to": to, "link": link});
            if let Some(mut stdin) = child.stdin.take() {
                stdin.write_all(format!("{message}\n").as_bytes()).await?;
            }
            child.wait().await
        };
        match tokio::time::timeout(COMMAND_MAX, sent).await {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(Ok(status)) => Err(format!("the mail command failed ({status})")),
            Ok(Err(error)) => Err(format!("the mail command cannot be run: {error}")),
            Err(_) => Err(format!("the mail command was not done after {} seconds", COMMAND_MAX.as_secs())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_command_gets_address_and_link_and_may_fail() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("sent");
        let mail = Mail::new(Some(format!("cat > {}", file.display())));
        mail.send("joe@example.com", "http://here/?verifyToken=a").await.unwrap();
        let sent: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
        assert_eq!(sent, serde_json::json!({"to": "joe@example.com", "link": "http://here/?verifyToken=a"}));
        let told = Mail::new(Some("cat > /dev/null; exit 3".into())).send("a@b.c", "secret").await.unwrap_err();
        assert!(told.contains("failed") && !told.contains("secret"), "{told}");
    }
}
