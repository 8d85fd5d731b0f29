/**
 * A `Linux` whose file system can do fs-verity: the real calls, and on top of them what the kernel's ioctls do. Sealed
 * files cannot be opened for writing; a file that is open for writing cannot be sealed. Bytes are not checked on reading.
 */
import { type HashName, VERITY_ALGORITHM } from "../../src/formats/digest.ts";
import {
  AT_EMPTY_PATH,
  AT_SYMLINK_NOFOLLOW,
  FS_IOC_ENABLE_VERITY,
  FS_IOC_MEASURE_VERITY,
  O_CREAT,
  O_RDWR,
  O_TMPFILE,
  O_WRONLY,
} from "../../src/linux/constants.ts";
import { readAll } from "../../src/linux/files.ts";
import { type Fd, type Linux, LinuxError } from "../../src/linux/linux.ts";
import { digestBytes } from "../../userspace/hash.ts";

const ENODATA = 61;
const EEXIST = 17;
const EPERM = 1;
const ETXTBSY = 26;
const EOVERFLOW = 75;

export interface FakeVerity {
  readonly linux: Linux;
  /** Says ETXTBSY to so many calls that would enable fs-verity. */
  busy: number;
  /** Takes the fs-verity of a file away, as no kernel would. */
  strip(dirfd: Fd, path: string): void;
}

export function fakeVerity(real: Linux): FakeVerity {
  const sealed = new Map<string, { hash: HashName; digest: Uint8Array }>();
  const writers = new Map<Fd, string>();
  const fail = (errno: number, code: string, syscall: string, fd: Fd): never => {
    throw new LinuxError(errno, code, code, syscall, `fd ${fd}`);
  };
  const key = (dirfd: Fd, path: string, flags: number) => {
    const { devMajor, devMinor, ino } = real.statx(dirfd, path, flags);
    return `${devMajor}:${devMinor}:${ino}`;
  };

  const fake: FakeVerity = {
    busy: 0,
    strip: (dirfd, path) => {
      sealed.delete(key(dirfd, path, AT_SYMLINK_NOFOLLOW));
    },
    linux: {
      ...real,
      openat(dirfd, path, flags, mode) {
        const fd = real.openat(dirfd, path, flags, mode);
        if ((flags & (O_RDWR | O_WRONLY)) === 0) return fd;
        const file = key(fd, "", AT_EMPTY_PATH);
        // The inode number of a file that is gone can come again.
        if ((flags & O_CREAT) !== 0 || (flags & O_TMPFILE) === O_TMPFILE) sealed.delete(file);
        if (sealed.has(file)) {
          real.close(fd);
          fail(EPERM, "EPERM", "openat", fd);
        }
        writers.set(fd, file);
        return fd;
      },
      close(fd) {
        writers.delete(fd);
        real.close(fd);
      },
      ioctl(fd, request, argument) {
        const view = new DataView(argument.buffer, argument.byteOffset);
        if (request === FS_IOC_ENABLE_VERITY) {
          const file = key(fd, "", AT_EMPTY_PATH);
          if (fake.busy > 0) {
            fake.busy--;
            fail(ETXTBSY, "ETXTBSY", "ioctl", fd);
          }
          if (sealed.has(file)) fail(EEXIST, "EEXIST", "ioctl", fd);
          if ([...writers.values()].includes(file)) fail(ETXTBSY, "ETXTBSY", "ioctl", fd);
          const algorithm = view.getUint32(4, true);
          const hash = algorithm === VERITY_ALGORITHM.sha256 ? "sha256" : "sha512";
          const again = real.openat(-1, `/proc/self/fd/${fd}`, 0);
          sealed.set(file, { hash, digest: digestBytes(hash, readAll(real, again, 1 << 30)) });
          real.close(again);
          return 0;
        }
        if (request === FS_IOC_MEASURE_VERITY) {
          const found = sealed.get(key(fd, "", AT_EMPTY_PATH));
          if (found === undefined) return fail(ENODATA, "ENODATA", "ioctl", fd);
          if (view.getUint16(2, true) < found.digest.length)
            fail(EOVERFLOW, "EOVERFLOW", "ioctl", fd);
          view.setUint16(0, VERITY_ALGORITHM[found.hash], true);
          view.setUint16(2, found.digest.length, true);
          argument.set(found.digest, 4);
          return 0;
        }
        return real.ioctl(fd, request, argument);
      },
    },
  };
  return fake;
}
