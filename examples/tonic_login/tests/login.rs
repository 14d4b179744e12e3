//! The program is a whole login, from the password to the end of the session.

use std::process::Command;

#[test]
fn the_program_logs_in_refreshes_and_logs_out() {
    let output = Command::new(env!("CARGO_BIN_EXE_tonic_login")).output().expect("it starts");
    let lines = String::from_utf8(output.stdout).expect("it prints text");
    let expected = "wrong password: wrong email or password\n\
                    login: ada@example.org is admin\n\
                    without a token: ";
    assert!(lines.starts_with(expected), "{lines}");
    let expected = "refresh: ada@example.org is admin\n\
                    logout: the session has ended\n\
                    refresh after the logout: log in again\n";
    assert!(lines.ends_with(expected), "{lines}");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
