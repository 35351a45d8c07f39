//! The text of /proc/PID/maps and smaps as mappings.
//!
//! May be relied on: a line that is none is passed over. Files mapped shared, and devices, are no memory of arenas: reading them may cost
//! disk or do something.

use arenascope_headers::{Backing, Mapping, Mappings};

/// Reads maps, or smaps (of which the flags are heeded).
pub fn parse(text: &[u8]) -> Mappings {
    let mut mappings: Vec<Mapping> = Vec::new();
    for line in text.split(|byte| *byte == b'\n') {
        match mapping(line) {
            Some(mapping) => mappings.push(mapping),
            None => {
                // proc(5): `wf` is MADV_WIPEONFORK, `dc` MADV_DONTFORK.
                let flags = line.strip_prefix(b"VmFlags:").unwrap_or_default();
                let own = flags.split(|byte| *byte == b' ').any(|flag| flag == b"wf" || flag == b"dc");
                if let Some(last) = mappings.last_mut().filter(|_| own) {
                    last.own = true;
                }
            }
        }
    }
    Mappings::new(mappings)
}

/// `7f00-7f01 rw-p 0000 08:01 123   /path`.
fn mapping(line: &[u8]) -> Option<Mapping> {
    let line = String::from_utf8_lossy(line);
    let mut words = line.splitn(6, ' ');
    let (start, end) = words.next()?.split_once('-')?;
    let (start, end) = (hex(start)?, hex(end)?);
    let rights = words.next()?.as_bytes();
    let &[read, write, _, private] = rights else { return None };
    let offset = hex(words.next()?)?;
    let device = words.next()?;
    let inode: u64 = words.next()?.parse().ok()?;
    let path = words.next().unwrap_or("").trim_start();
    Some(Mapping {
        start,
        end,
        readable: read == b'r',
        writable: write == b'w',
        backing: backing(path, offset, device, inode, private == b'p'),
        own: false,
    })
}

fn hex(text: &str) -> Option<u64> {
    u64::from_str_radix(text, 16).ok()
}

fn backing(path: &str, offset: u64, device: &str, inode: u64, private: bool) -> Backing {
    let without_disk = ["/memfd:", "/dev/zero", "/SYSV", "/dev/shm/", "/anon_hugepage", "[anon_shmem:"];
    let without_disk = without_disk.iter().any(|start| path.starts_with(start));
    match (inode, path) {
        (_, "" | "[heap]" | "[stack]") => Backing::Anonymous,
        (_, path) if path.starts_with("[anon:") || path.starts_with("[stack:") => Backing::Anonymous,
        (0, _) => Backing::Special,
        (_, path) if private && path.starts_with("/anon_hugepage") => Backing::Anonymous,
        _ if !private && without_disk => {
            let device = device.split_once(':').and_then(|(major, minor)| Some(hex(major)? << 8 | hex(minor)?));
            Backing::Shared { name: path.to_owned(), identity: device.unwrap_or(0) << 48 ^ inode }
        }
        (_, path) if !private || (path.starts_with("/dev/") && !without_disk) => Backing::Special,
        (_, path) => Backing::File { path: path.to_owned(), offset },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_maps_and_smaps_are_understood() {
        let text = b"00400000-00401000 r--p 00000000 08:01 42                         /bin/a b\n\
            00401000-00402000 rw-p 00001000 08:01 42                         /bin/a b\n\
            00402000-00403000 rw-p 00000000 00:00 0 \nRss: 4 kB\nVmFlags: rd wr mr wf \n\
            00500000-00501000 rw-s 00000000 00:01 7                          /memfd:arenascope (deleted)\n\
            00600000-00601000 rw-s 00000000 08:01 43                         /data\n\
            00700000-00701000 rw-p 00000000 00:06 8                          /dev/nvidia0\n\
            00800000-00801000 r-xp 00000000 00:00 0                          [vdso]\n\
            nonsense\n00900000-00901000 ---p 00000000 00:00 0                [heap]\n";
        let mappings = parse(text);
        let kinds: Vec<&Backing> = mappings.iter().map(|mapping| &mapping.backing).collect();
        assert!(matches!(kinds[0], Backing::File { path, offset: 0 } if path == "/bin/a b"), "{kinds:?}");
        assert!(matches!(kinds[2], Backing::Anonymous) && mappings.iter().nth(2).is_some_and(|mapping| mapping.own));
        assert!(matches!(kinds[3], Backing::Shared { identity, .. } if *identity != 0));
        assert!(matches!(kinds[4..7], [Backing::Special, Backing::Special, Backing::Special]));
        assert!(mappings.iter().nth(7).is_some_and(|mapping| !mapping.readable && !mapping.own));
        assert_eq!(mappings.iter().filter(|mapping| mapping.own).count(), 1);
    }
}
