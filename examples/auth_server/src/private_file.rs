//! Files that nobody but their owner reads.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, Write},
    path::{Path, PathBuf},
    process,
};

/// Makes an empty file if there is none.
pub(crate) fn ensure(path: &Path) -> io::Result<()> {
    match options().open(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        made => made.map(|_: File| ()),
    }
}

/// Makes a file that has all of its content from its first moment on; whether there was none before.
pub(crate) fn create(path: &Path, content: &[u8]) -> io::Result<bool> {
    let mut draft = path.as_os_str().to_owned();
    draft.push(format!(".{}", process::id()));
    let draft = PathBuf::from(draft);
    let mut file = options().open(&draft)?;
    let made = file.write_all(content).and_then(|()| file.sync_all()).and_then(|()| {
        // Unlike a renaming it takes the place of no file that another server has made meanwhile.
        match fs::hard_link(&draft, path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
            linked => linked.map(|()| true),
        }
    });
    fs::remove_file(&draft)?;
    made
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}
