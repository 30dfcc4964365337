//! Far sides on this machine: an rsync daemon, an sshd, a WebDAV server, each with its own configuration and
//! port, and ended with the test. What lies there lies in a folder of the sandbox, so tests can look at it and
//! damage it.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::{Sandbox, system};

/// How a far side is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Folder,
    Daemon,
    Ssh,
    Rclone,
}

pub const WAYS: [Way; 4] = [Way::Folder, Way::Daemon, Way::Ssh, Way::Rclone];

/// A far side.
pub struct Far {
    pub way: Way,
    /// As `--remote` takes it.
    pub destination: String,
    /// Where its folders lie.
    pub root: PathBuf,
    server: Option<Server>,
}

struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // Already gone is as good.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// A program on the search path, or where administrators have theirs.
pub fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let more = ["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(more).map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// A port that nobody has, and that no other test of this binary was told of.
pub fn free_port() -> u16 {
    static TOLD: Mutex<Vec<u16>> = Mutex::new(Vec::new());
    loop {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut told = TOLD.lock().unwrap();
        if !told.contains(&port) {
            told.push(port);
            return port;
        }
    }
}

/// A program of the sandbox, found before the system's: a shell script.
#[cfg(unix)]
pub fn put_before(sandbox: &mut Sandbox, name: &str, script: &str) {
    use std::os::unix::fs::PermissionsExt;
    let bin = sandbox.path("before");
    fs::create_dir_all(&bin).unwrap();
    fs::write(bin.join(name), format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(bin.join(name), fs::Permissions::from_mode(0o755)).unwrap();
    let path = std::env::var_os("PATH").unwrap();
    let all = std::iter::once(bin).chain(std::env::split_paths(&path));
    sandbox.env("PATH", std::env::join_paths(all).unwrap());
}

impl Far {
    /// Starts one; `None` (and told) where its program is not installed.
    pub fn start(sandbox: &mut Sandbox, way: Way) -> Option<Far> {
        Far::started(sandbox, way, false)
    }

    /// An rsync daemon that may only be read.
    pub fn read_only_daemon(sandbox: &mut Sandbox) -> Option<Far> {
        Far::started(sandbox, Way::Daemon, true)
    }

    fn started(sandbox: &mut Sandbox, way: Way, read_only: bool) -> Option<Far> {
        let root = sandbox.path(format!("far {way:?}{}", if read_only { " ro" } else { "" }));
        fs::create_dir_all(&root).unwrap();
        let far = |destination: String, server| Some(Far { way, destination, root: root.clone(), server });
        match way {
            Way::Folder => far(root.to_str().unwrap().to_owned(), None),
            Way::Daemon => {
                let (port, server) = daemon(sandbox, &root, read_only)?;
                far(format!("rsync://127.0.0.1:{port}/module/below"), Some(server)).map(Far::below)
            }
            Way::Ssh => {
                let (port, server) = sshd(sandbox)?;
                far(format!("ssh://127.0.0.1:{port}{}", root.display()), Some(server))
            }
            Way::Rclone => {
                let server = webdav(sandbox, &root)?;
                far("far:below".to_owned(), Some(server)).map(Far::below)
            }
        }
    }

    fn below(self) -> Far {
        Far { root: self.root.join("below"), ..self }
    }

    /// The only folder there.
    #[track_caller]
    pub fn folder(&self) -> PathBuf {
        let mut folders: Vec<PathBuf> =
            fs::read_dir(&self.root).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(folders.len(), 1, "{folders:?}");
        folders.remove(0)
    }

    /// Ends the server: the far side can't be reached any more.
    pub fn stop(&mut self) {
        self.server = None;
    }
}

fn wait_for(port: u16, server: &mut Child, log: &Path) {
    let begun = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        let ended = server.try_wait().unwrap();
        let said = || fs::read_to_string(log).unwrap_or_default();
        assert!(ended.is_none(), "the server ended: {}", said());
        assert!(begun.elapsed() < Duration::from_secs(30), "the server does not answer: {}", said());
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn serve(sandbox: &Sandbox, program: &Path, arguments: &[&str], port: u16) -> Server {
    let log = sandbox.path(format!("server-{port}.log"));
    let file = fs::File::create(&log).unwrap();
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file);
    let mut child = command.spawn().expect("the server starts");
    wait_for(port, &mut child, &log);
    Server(child)
}

fn daemon(sandbox: &Sandbox, root: &Path, read_only: bool) -> Option<(u16, Server)> {
    let Some(rsync) = find("rsync") else {
        system::skip("rsync");
        return None;
    };
    let port = free_port();
    // The daemon of root would become somebody who may not write into the sandbox.
    let who = if system::is_root() { "uid = 0\ngid = 0\n" } else { "" };
    let text = format!(
        "address = 127.0.0.1\nport = {port}\nuse chroot = no\n{who}[module]\npath = {}\nread only = {}\n",
        root.display(),
        if read_only { "yes" } else { "no" }
    );
    let configuration = sandbox.path(format!("rsyncd-{port}.conf"));
    fs::write(&configuration, text).unwrap();
    let config = format!("--config={}", configuration.display());
    let server = serve(sandbox, &rsync, &["--daemon", "--no-detach", &config], port);
    Some((port, server))
}

fn webdav(sandbox: &mut Sandbox, root: &Path) -> Option<Server> {
    let Some(rclone) = find("rclone") else {
        system::skip("rclone");
        return None;
    };
    let port = free_port();
    let address = format!("127.0.0.1:{port}");
    // Tests change what lies there behind the server's back, so it must look each time.
    let words = ["serve", "webdav", root.to_str().unwrap(), "--addr", &address, "--dir-cache-time", "0s"];
    let server = serve(sandbox, &rclone, &words, port);
    let configuration = sandbox.path("rclone.conf");
    fs::write(&configuration, format!("[far]\ntype = webdav\nurl = http://{address}\nvendor = other\n"))
        .unwrap();
    sandbox.env("RCLONE_CONFIG", &configuration);
    Some(server)
}

#[cfg(unix)]
fn sshd(sandbox: &mut Sandbox) -> Option<(u16, Server)> {
    for tool in ["rsync", "ssh", "ssh-keygen", "sshd"] {
        if find(tool).is_none() {
            system::skip(tool);
            return None;
        }
    }
    if system::is_root() {
        // Where the sshd of root becomes nobody for a moment.
        fs::create_dir_all("/run/sshd").unwrap();
    }
    let folder = sandbox.path("ssh");
    fs::create_dir_all(&folder).unwrap();
    for key in ["host", "user"] {
        let file = folder.join(key);
        let words = ["-q", "-t", "ed25519", "-N", "", "-f", file.to_str().unwrap()];
        assert!(Command::new(find("ssh-keygen").unwrap()).args(words).status().unwrap().success());
    }
    let at = |name: &str| folder.join(name).display().to_string();
    let port = free_port();
    // A home of its own there too: the user's shell would read the profile of whoever runs the tests, at each
    // connection. And one key exchange for all, the one that takes least time.
    fs::create_dir(at("home")).unwrap();
    let configuration = format!(
        "Port {port}\nListenAddress 127.0.0.1\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\nStrictModes no\n\
         UsePAM no\nPasswordAuthentication no\nPermitRootLogin yes\nMaxStartups 100\nSetEnv HOME={}\n\
         KexAlgorithms curve25519-sha256\n",
        at("host"),
        at("user.pub"),
        at("home")
    );
    fs::write(folder.join("sshd_config"), configuration).unwrap();
    let config = at("sshd_config");
    let server = serve(sandbox, &find("sshd").unwrap(), &["-D", "-e", "-f", &config], port);
    // ssh looks for its configuration in the home of the system's user and not in HOME.
    let ssh = find("ssh").unwrap();
    let options = format!(
        "-F /dev/null -i '{}' -o IdentitiesOnly=yes -o UserKnownHostsFile='{}' -o StrictHostKeyChecking=accept-new -o LogLevel=ERROR",
        at("user"),
        at("known")
    );
    put_before(sandbox, "ssh", &format!("exec '{}' {options} \"$@\"", ssh.display()));
    Some((port, server))
}

#[cfg(windows)]
fn sshd(_sandbox: &mut Sandbox) -> Option<(u16, Server)> {
    None
}
