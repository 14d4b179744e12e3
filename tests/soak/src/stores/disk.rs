//! A disk with little room: the folder of a store in, moved to a separate file system in memory
//! until the value is dropped.

use std::{
    fs::{self, File},
    io::Write,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use kippu_simulation::log::FaultKind;

use super::size;
use crate::support::{Scratch, wait_until};

pub(super) struct SmallDisk(PathBuf);

impl SmallDisk {
    /// The fault, where this process may mount a disk: it needs root, and a container in which root
    /// may mount.
    pub(super) fn fault() -> Option<FaultKind> {
        let probe = Scratch::new("soak-disk");
        let is_allowed = run(mount(probe.path(), "size=1m"));
        if is_allowed {
            assert!(run(Command::new("umount").arg(probe.path())), "the probe stays mounted");
        } else {
            println!("NOT RUN: no disk is filled, because mount(8) of a tmpfs is not allowed here");
        }
        is_allowed.then_some(FaultKind::Full)
    }

    /// Moves a folder, which no process uses, to such a disk.
    pub(super) fn under(folder: &Path) -> Self {
        let (aside, owner) = (folder.with_extension("aside"), fs::metadata(folder));
        let owner = owner.expect("the folder is there");
        fs::rename(folder, &aside).expect("the folder can be moved");
        fs::create_dir(folder).expect("a folder can be made");
        // For the changes of some seconds, and a start of the server.
        let room = 2 * size(&aside) + (64 << 20);
        let (user, group, mode) = (owner.uid(), owner.gid(), owner.mode() & 0o777);
        let options = format!("size={room},uid={user},gid={group},mode={mode:o}");
        assert!(run(mount(folder, &options)), "mount worked before");
        copy(&aside, folder);
        fs::remove_dir_all(aside).expect("the old folder can be removed");
        Self(folder.to_owned())
    }

    fn ballast(&self) -> PathBuf {
        self.0.join("ballast")
    }

    /// Takes all the room that is left.
    pub(super) fn fill(&self) {
        let mut ballast = File::create(self.ballast()).expect("a file can be made");
        for length in [1 << 20, 1 << 12] {
            while ballast.write_all(&vec![0; length]).is_ok() {}
        }
    }

    /// Gives the room back.
    pub(super) fn free(&self) {
        fs::remove_file(self.ballast()).expect("the ballast can be removed");
    }
}

impl Drop for SmallDisk {
    /// Moves the folder back to where it was, as soon as no process writes to it.
    fn drop(&mut self) {
        let aside = self.0.with_extension("aside");
        fs::create_dir(&aside).expect("a folder can be made");
        wait_until("the end of all writes", Duration::from_secs(30), || {
            run(Command::new("mount").args(["-o", "remount,ro"]).arg(&self.0))
        });
        copy(&self.0, &aside);
        wait_until("unmounting", Duration::from_secs(30), || {
            run(Command::new("umount").arg(&self.0))
        });
        fs::remove_dir(&self.0).expect("the folder is empty");
        fs::rename(aside, &self.0).expect("the folder can be moved back");
    }
}

fn mount(folder: &Path, options: &str) -> Command {
    let mut command = Command::new("mount");
    command.args(["-t", "tmpfs", "-o", options, "kippu-soak"]).arg(folder);
    command
}

fn copy(from: &Path, to: &Path) {
    let mut command = Command::new("cp");
    command.arg("--archive").arg(from.join(".")).arg(to);
    assert!(run(command), "{} can be copied", from.display());
}

fn run(mut command: impl std::borrow::BorrowMut<Command>) -> bool {
    command.borrow_mut().output().is_ok_and(|output| output.status.success())
}
