/** The model's calls do what the kernel's do: the same calls on both, one after the other, have the same results. */
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { expect, test } from "vitest";
import { display, fromText, toBytes } from "../../src/formats/bytestring.ts";
import {
  AT_EMPTY_PATH,
  AT_FDCWD,
  AT_REMOVEDIR,
  AT_SYMLINK_FOLLOW,
  AT_SYMLINK_NOFOLLOW,
  O_CREAT,
  O_DIRECTORY,
  O_EXCL,
  O_NOFOLLOW,
  O_PATH,
  O_RDONLY,
  O_RDWR,
  O_TMPFILE,
  O_TRUNC,
  O_WRONLY,
  RENAME_EXCHANGE,
  RENAME_NOREPLACE,
  RESOLVE_BENEATH,
  RESOLVE_NO_SYMLINKS,
  S_IFDIR,
  S_IFLNK,
  S_IFMT,
} from "../../src/linux/constants.ts";
import { makeDirectories } from "../../src/linux/directories.ts";
import { readAll } from "../../src/linux/files.ts";
import { type Fd, type Linux, LinuxError } from "../../src/linux/linux.ts";
import { linux as real } from "../../userspace/linux.ts";
import { Disk } from "./disk.ts";
import { ModelLinux } from "./linux.ts";

/** Calls on an open directory; what it returns is compared. */
type Step = (linux: Linux, root: Fd) => unknown;

interface NamedStep {
  readonly name: string;
  readonly step: Step;
}

const bytes = (text: string) => toBytes(fromText(text));

function withFile(linux: Linux, fd: Fd, action: (fd: Fd) => unknown): unknown {
  try {
    return action(fd);
  } finally {
    linux.close(fd);
  }
}

const ACTIONS: Readonly<Record<string, (linux: Linux, fd: Fd) => unknown>> = {
  nothing: () => undefined,
  write: (linux, fd) => linux.write(fd, bytes("some text")),
  "write twice": (linux, fd) => [linux.write(fd, bytes("ab")), linux.write(fd, bytes("cde"))],
  "write there": (linux, fd) => linux.write(fd, bytes("xyz"), 7),
  read: (linux, fd) => display(String.fromCharCode(...readAll(linux, fd, 1000)) as never),
  readdir: (linux, fd) =>
    linux
      .readdir(fd)
      .map(({ name, type }) => `${name} ${type}`)
      .sort(),
  shorten: (linux, fd) => linux.ftruncate(fd, 3),
  lengthen: (linux, fd) => linux.ftruncate(fd, 20),
  chmod: (linux, fd) => linux.fchmod(fd, 0o4750),
  sync: (linux, fd) => linux.fsync(fd),
  time: (linux, fd) => linux.utimensat(fd, "", 1234n, 56, AT_EMPTY_PATH),
};

const FLAGS: Readonly<Record<string, number>> = {
  "to read": O_RDONLY,
  "to write": O_WRONLY,
  "to read and write": O_RDWR,
  "as a directory": O_DIRECTORY,
  "as a directory, no link": O_DIRECTORY | O_NOFOLLOW,
  "no link": O_NOFOLLOW,
  path: O_PATH,
  "path, no link": O_PATH | O_NOFOLLOW,
  create: O_CREAT | O_RDWR,
  "create, no link": O_CREAT | O_WRONLY | O_NOFOLLOW,
  "create anew": O_CREAT | O_EXCL | O_RDWR,
  "create or empty": O_CREAT | O_TRUNC | O_WRONLY,
};

const name = fc.constantFrom("a", "b", "c", "d");
const path = fc.oneof(
  { weight: 4, arbitrary: name },
  { weight: 3, arbitrary: fc.tuple(name, name).map((parts) => parts.join("/")) },
  fc.tuple(name, name, name).map((parts) => parts.join("/")),
  fc.tuple(name, name).map(([one, two]) => `${one}/../${two}`),
);
const anyPath = fc.oneof(
  { weight: 4, arbitrary: path },
  fc.constantFrom(".", "a/.", "./b", "a//b", ".."),
);
const target = fc.oneof(path, fc.constantFrom("../a", "..", "../../b", "nowhere", "a/../a"));
const resolve = fc.constantFrom(0, RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS, RESOLVE_BENEATH);

const opening = fc
  .record({
    path: anyPath,
    flags: fc.constantFrom(...Object.keys(FLAGS)),
    action: fc.constantFrom(...Object.keys(ACTIONS)),
    resolve,
  })
  .map(({ path, flags, action, resolve }): NamedStep => {
    const how = { flags: FLAGS[flags]!, resolve };
    return {
      name: `open ${path} (${flags}, ${resolve}), ${action}`,
      step: (linux, root) => {
        const mode = (how.flags & O_CREAT) === 0 ? 0 : 0o640;
        const fd = linux.openat2(root, path, { ...how, mode });
        return withFile(linux, fd, (fd) => ACTIONS[action]!(linux, fd));
      },
    };
  });

const two = fc.tuple(path, path);
const named = (step: NamedStep): NamedStep => step;
const steps: fc.Arbitrary<NamedStep> = fc.oneof(
  { weight: 4, arbitrary: opening },
  {
    weight: 3,
    arbitrary: path.map((path) =>
      named({
        name: `mkdir ${path}`,
        step: (linux, root) => linux.mkdirat(root, path, 0o750),
      }),
    ),
  },
  path.map((path) =>
    named({
      name: `unlink ${path}`,
      step: (linux, root) => linux.unlinkat(root, path, 0),
    }),
  ),
  path.map((path) =>
    named({
      name: `rmdir ${path}`,
      step: (linux, root) => linux.unlinkat(root, path, AT_REMOVEDIR),
    }),
  ),
  {
    weight: 3,
    arbitrary: fc
      .tuple(path, path, fc.constantFrom(0, RENAME_NOREPLACE, RENAME_EXCHANGE))
      .map(([from, to, flags]) =>
        named({
          name: `rename ${from} ${to} (${flags})`,
          step: (linux, root) => linux.renameat2(root, from, root, to, flags),
        }),
      ),
  },
  two.map(([from, to]) =>
    named({
      name: `link ${from} ${to}`,
      step: (linux, root) => linux.linkat(root, from, root, to, 0),
    }),
  ),
  two.map(([at, to]) =>
    named({
      name: `nameless in ${at}, then ${to}`,
      step: (linux, root) =>
        withFile(linux, linux.openat(root, at, O_TMPFILE | O_RDWR, 0o604), (fd) => {
          linux.write(fd, bytes("nameless"));
          linux.linkat(AT_FDCWD, `/proc/self/fd/${fd}`, root, to, AT_SYMLINK_FOLLOW);
          return linux.statx(fd, "", AT_EMPTY_PATH).nlink;
        }),
    }),
  ),
  {
    weight: 2,
    arbitrary: fc.tuple(target, path).map(([target, path]) =>
      named({
        name: `symlink ${path} -> ${target}`,
        step: (linux, root) => linux.symlinkat(target, root, path),
      }),
    ),
  },
  path.map((path) =>
    named({
      name: `readlink ${path}`,
      step: (linux, root) => linux.readlinkat(root, path),
    }),
  ),
  path.map((path) =>
    named({
      name: `access ${path}`,
      step: (linux, root) => linux.faccessat(root, path, 0),
    }),
  ),
  fc.tuple(path, fc.constantFrom(0, AT_SYMLINK_NOFOLLOW)).map(([path, flags]) =>
    named({
      name: `stat ${path} (${flags})`,
      step: (linux, root) => {
        const { mode, nlink, size } = linux.statx(root, path, flags);
        return (mode & S_IFMT) === S_IFDIR ? [mode, nlink] : [mode, nlink, size];
      },
    }),
  ),
);

function outcome(linux: Linux, root: Fd, step: Step): unknown {
  try {
    return { value: step(linux, root) };
  } catch (error) {
    if (error instanceof LinuxError) return { error: error.code };
    throw error;
  }
}

/** Everything below a directory. */
function tree(linux: Linux, directory: Fd, prefix = ""): string[] {
  return linux
    .readdir(directory)
    .toSorted((a, b) => (a.name < b.name ? -1 : 1))
    .flatMap(({ name }) => {
      const entry = toBytes(name);
      const { mode, nlink, size } = linux.statx(directory, entry, AT_SYMLINK_NOFOLLOW);
      const type = mode & S_IFMT;
      const at = `${prefix}${name}`;
      if (type === S_IFLNK) return [`${at} -> ${linux.readlinkat(directory, entry)}`];
      const fd = linux.openat(directory, entry, O_RDONLY | O_NOFOLLOW);
      try {
        if (type === S_IFDIR) return [`${at} ${mode} ${nlink}`, ...tree(linux, fd, `${at}/`)];
        return [`${at} ${mode} ${nlink} ${size} ${readAll(linux, fd, 1000)}`];
      } finally {
        linux.close(fd);
      }
    });
}

/** Where it begins; above it is room for links that lead out. */
const DEEP = "u/v/w/x/y/z";

test("the same calls have the same results", { timeout: 60_000 }, (ctx) => {
  if (real.geteuid() !== 0) ctx.skip("not root: the kernel refuses what the model does not");
  const umask = process.umask(0);
  const directory = mkdtempSync(join(tmpdir(), "cfsboot-model-"));
  try {
    let runs = 0;
    fc.assert(
      fc.property(fc.array(steps, { minLength: 5, maxLength: 40, size: "max" }), (run) => {
        const disk = new Disk();
        disk.addFileSystem("x", "journaled");
        const model = new ModelLinux(disk);
        const here = join(directory, `${runs++}`);
        mkdirSync(join(here, DEEP), { recursive: true, mode: 0o755 });
        makeDirectories(model, model.openat(AT_FDCWD, "/x", O_RDONLY), DEEP, 0o755);
        const flags = O_RDONLY | O_DIRECTORY;
        const theirs = real.openat(AT_FDCWD, join(here, DEEP), flags);
        const ours = model.openat(AT_FDCWD, `/x/${DEEP}`, flags);
        try {
          for (const [index, { name, step }] of run.entries()) {
            const before = run.slice(0, index).map(({ name }) => name);
            expect(outcome(model, ours, step), `${name} after ${before.join("; ")}`).toEqual(
              outcome(real, theirs, step),
            );
          }
          expect(tree(model, ours)).toEqual(tree(real, theirs));
          expect(model.openFiles).toBe(2);
        } finally {
          real.close(theirs);
          rmSync(here, { recursive: true });
        }
      }),
      { numRuns: 300 },
    );
  } finally {
    process.umask(umask);
    rmSync(directory, { recursive: true, force: true });
  }
});
