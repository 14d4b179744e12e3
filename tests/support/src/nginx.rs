//! nginx, for the tests of its documented configurations.

use std::{
    fs::{self, File},
    net::{Ipv4Addr, TcpStream},
    path::Path,
    process::Command,
    time::Duration,
};

use crate::servers::{Server, program, wait_until};

/// Starts nginx with the `server` blocks of `site`, of which one listens on `port`. Its files are
/// in `folder`; `access_log` has its lines in the default format.
pub fn start(folder: &Path, site: &str, port: u16) -> Server {
    let path = |name: &str| folder.join(name).display().to_string();
    fs::write(path("site.conf"), site).unwrap();
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let temporary = temporary.map(|kind| format!("{kind}_temp_path {};", path(kind))).concat();
    let main = format!(
        "daemon off; master_process off; pid {}; error_log {}; events {{}}\n\
         http {{ access_log {}; {temporary} include {}; }}\n",
        path("pid"),
        path("log"),
        path("access_log"),
        path("site.conf"),
    );
    fs::write(path("nginx.conf"), main).unwrap();
    let output = File::create(path("output")).unwrap();
    let mut command = Command::new(program(["nginx", "/usr/sbin/nginx"]));
    command.args(["-p", &path(""), "-e", &path("log"), "-c", &path("nginx.conf")]);
    let mut server = Server::start(command.stderr(output));
    wait_until("the start of nginx", Duration::from_secs(30), || {
        let read = |name: &str| fs::read_to_string(path(name)).unwrap_or_default();
        assert!(server.is_running(), "{}{}", read("output"), read("log"));
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
    });
    server
}

/// Replaces parts of a documented configuration, each of which it has once.
pub fn adapted(documented: &str, replacements: &[(&str, &str)]) -> String {
    replacements.iter().fold(documented.to_owned(), |site, (there, here)| {
        assert_eq!(site.matches(there).count(), 1, "{there}");
        site.replace(there, here)
    })
}
