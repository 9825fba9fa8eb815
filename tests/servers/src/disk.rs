//! A disk of its own for a server, small enough to be filled: a tmpfs, which gives a real "no space left on device".

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    mount::{MntFlags, MsFlags, mount, umount2},
};

static BLOCK: [u8; 64 << 10] = [0; 64 << 10];

/// Unmounted on drop.
#[derive(Debug)]
pub(crate) struct Disk {
    at: PathBuf,
}

impl Disk {
    /// Mounts a disk of `mib` MiB in a new folder. Only root may, and not in every container: then there is none.
    pub(crate) fn mount(at: &Path, mib: usize) -> Option<Self> {
        fs::create_dir_all(at).expect("a folder can be made in a temporary one");
        let size = format!("size={mib}m,mode=700");
        mount(Some("tmpfs"), at, Some("tmpfs"), MsFlags::empty(), Some(size.as_str())).ok()?;
        Some(Self { at: at.to_owned() })
    }

    /// Takes up all the room that is left.
    pub(crate) fn fill(&self) {
        let mut ballast = fs::File::create(self.ballast()).expect("an empty file needs no room");
        // In small steps at the end, so that not even a short record finds room.
        for step in [BLOCK.len(), 1] {
            while match ballast.write_all(&BLOCK[..step]) {
                Ok(()) => true,
                Err(error) if error.raw_os_error() == Some(Errno::ENOSPC as i32) => false,
                Err(error) => panic!("the disk of a test cannot be filled: {error}"),
            } {}
        }
    }

    /// Makes room again.
    pub(crate) fn free(&self) {
        match fs::remove_file(self.ballast()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => panic!("no room can be made: {error}"),
            _ => {}
        }
    }

    fn ballast(&self) -> PathBuf {
        self.at.join("ballast")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Whoever still has a file open keeps it; the folder is free to go.
        if let Err(error) = umount2(&self.at, MntFlags::MNT_DETACH) {
            eprintln!("{} stays mounted: {error}", self.at.display());
        }
    }
}
