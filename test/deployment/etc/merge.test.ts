/** The merge of real directories, with all that a file system can hold. */
import { execFileSync, spawnSync } from "node:child_process";
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { AT_FDCWD, O_DIRECTORY } from "../../../src/linux/constants.ts";
import type { Linux } from "../../../src/linux/linux.ts";
import { LinuxError } from "../../../src/linux/linux.ts";
import type { EtcPlan, EtcStrategy } from "../../../src/model/etc/merge.ts";
import {
  EtcConflictsError,
  type EtcPlaces,
  mergeEtcInto,
} from "../../../userspace/deployment/etc/merge.ts";
import { contentsOf, isRoot, NOT_ROOT, quickLinux, type Scratch, scratch } from "./places.ts";

let dir: Scratch;
beforeEach(() => {
  dir = scratch();
});
afterEach(() => dir[Symbol.dispose]());

const out = () => join(dir.path, "state/etc");

function merge(
  places: EtcPlaces,
  { strategy = "fail", linux = quickLinux }: { strategy?: EtcStrategy; linux?: Linux } = {},
): EtcPlan {
  mkdirSync(join(dir.path, "state"), { recursive: true });
  const directory = linux.openat(AT_FDCWD, join(dir.path, "state"), O_DIRECTORY);
  try {
    return mergeEtcInto(linux, places, strategy, {
      directory,
      name: "etc",
      report: "etc-merge.json",
    });
  } finally {
    linux.close(directory);
  }
}

/** Two states that differ in everything that a merge must carry. */
const RICH = `
  mkdir -m 2750 d d/deep; echo one > d/deep/file; ln d/deep/file link
  ln -s /nowhere/at/all dangling; ln -s d/deep relative
  install -m 4755 /dev/null setuid; install -m 0000 /dev/null closed; echo x > setgid; chmod 2711 setgid
  mkfifo -m 622 pipe; mkdir empty; printf 'no newline' > ${"'with space'"}; : > "$(printf '\\377\\001')"
  touch -d @1.5 d/deep/file; touch -h -d @2.25 dangling; touch -d @3.125 d/deep; touch -d @4 d; touch -d @-5 empty; touch -d @6 .
`;
const ROOT_ONLY = `
  chown 12:34 d/deep/file setuid; chmod 6755 setuid; chown -h 56:78 dangling; chown 90 d
  mknod -m 606 null c 1 3; mknod -m 660 disk b 7 300; chown 1:2 null
  setfattr -n user.large -v "$(head -c 3000 /dev/zero | tr '\\0' v)" setuid
  setfattr -n user.on.directory -v 1 d; setfattr -h -n trusted.on.symlink -v 1 dangling
  # ACLs: u::rw,u:7:r,g::r,m::r,o::- and a default one
  setfattr -n system.posix_acl_access -v 0x0200000001000600ffffffff020004000700000004000400ffffffff10000400ffffffff20000000ffffffff setgid
  setfattr -n system.posix_acl_default -v 0x0200000001000700ffffffff020007000700000004000500ffffffff10000700ffffffff20000500ffffffff d
  setfattr -n security.capability -v 0x0100000200040000000000000000000000000000 closed
  touch -d @1.5 d/deep/file; touch -h -d @2.25 dangling; touch -d @4 d
  chattr +i d/deep/file empty && chattr +a setuid || echo "no chattr here" >&2
`;
const rich = () => (isRoot ? RICH + ROOT_ONLY : RICH.replace("-m 0000", "-m 0400"));

describe("exactly", () => {
  test("the machine's, where the image did not change", () => {
    const plain = "echo p > setuid; mkdir d; echo p > gone";
    const current = dir.make("c", rich());
    const image = dir.make("p", plain);
    merge({ pristine: image, current, next: image });
    expect(contentsOf(out())).toEqual(contentsOf(current));
  });

  test("the new image's, where nothing was changed on the machine", () => {
    const next = dir.make("n", rich());
    const plain = "echo p > a; mkdir d; echo p > gone; ln -s x y";
    merge({ pristine: dir.make("p", plain), current: dir.make("c", plain), next });
    expect(contentsOf(out())).toEqual(contentsOf(next));
  });

  test("once more with the result as the machine's, the result", () => {
    const plain = "echo p > a; mkdir d; echo p > gone; ln -s x y";
    const places = {
      pristine: dir.make("p", plain),
      current: dir.make(
        "c",
        `${plain}; echo c > a; rm gone; ${rich().replace("mkdir -m 2750 d d/deep", "mkdir d/deep")}`,
      ),
      next: dir.make("n", "echo n > b; ln -s z y; echo p > a; mkdir d; echo n > d/n"),
    };
    merge(places);
    const once = contentsOf(out());
    merge(places);
    expect(contentsOf(out())).toEqual(once);
    expect(readdirSync(join(dir.path, "state")).sort()).toEqual(["etc", "etc-merge.json"]);
  });
});

describe("bootc's defects", () => {
  test("what is protected by chattr stays so, and does not stand in the way", (ctx) => {
    const may = spawnSync("sh", ["-c", "echo > f; chattr +i f && chattr -i f"], { cwd: dir.path });
    if (may.status !== 0) ctx.skip("no chattr +i here");
    const places = {
      pristine: dir.make("p", "echo p > f; mkdir d"),
      current: dir.make("c", "echo p > f; mkdir d; chattr +i f; chattr +a d"),
      next: dir.make("n", "echo n > f; mkdir d; echo n > d/new"),
    };
    merge(places);
    merge(places);
    expect(contentsOf(out())).toMatchObject({
      f: { immutable: true, holds: (contentsOf(places.current).f as { holds: unknown }).holds },
      d: { appendOnly: true },
      "d/new": {},
    });
    expect(readdirSync(join(dir.path, "state")).sort()).toEqual(["etc", "etc-merge.json"]);
  });

  test("setuid and setgid survive the change of owner (bootc defect: setuid)", (ctx) => {
    if (!isRoot) ctx.skip(NOT_ROOT);
    const places = {
      pristine: dir.make("p"),
      current: dir.make("c", "echo x > f; chown 5:6 f; chmod 6755 f"),
      next: dir.make("n"),
    };
    merge(places);
    expect(statSync(join(out(), "f"))).toMatchObject({ uid: 5, gid: 6, mode: 0o106755 });
  });

  test("extended attributes of more than 128 bytes, in value and in number (bootc defect: extended attributes)", (ctx) => {
    const many = `echo x > f; for i in $(seq 60); do setfattr -n user.attribute$i -v v f; done
      setfattr -n user.large -v "$(head -c 900 /dev/zero | tr '\\0' v)" f`;
    if (
      spawnSync("sh", ["-c", "echo > f; setfattr -n user.a -v 1 f"], { cwd: dir.path }).status !== 0
    )
      ctx.skip("no setfattr, or no user extended attributes here");
    const places = {
      pristine: dir.make("p"),
      current: dir.make("c", many),
      next: dir.make("n", "echo x > f"),
    };
    merge(places);
    expect(contentsOf(out()).f).toEqual(contentsOf(places.current).f);
  });

  test("a directory that the image dropped is made again for what was added below it (bootc#1924)", () => {
    const places = {
      pristine: dir.make("p", "mkdir -p a/b; echo p > a/b/x"),
      current: dir.make("c", "mkdir -p a/b; echo p > a/b/x; echo c > a/b/own; chmod 711 a"),
      next: dir.make("n"),
    };
    merge(places);
    expect(readFileSync(join(out(), "a/b/own"), "utf8")).toBe("c\n");
    expect(existsSync(join(out(), "a/b/x"))).toBe(false);
    expect(statSync(join(out(), "a")).mode & 0o7777).toBe(0o711);
  });

  test("what was removed here and leads outside in the image is left alone (bootc#2278)", () => {
    dir.make("outside", "echo precious > file");
    const places = {
      pristine: dir.make("p", "mkdir e; echo p > e/file"),
      current: dir.make("c"),
      next: dir.make("n", "ln -s ../outside e"),
    };
    merge(places);
    expect(readFileSync(join(dir.path, "outside/file"), "utf8")).toBe("precious\n");
    expect(readdirSync(out())).toEqual([]);
  });

  test("a symlink in place of a directory, and its target untouched (composefs-rs#335)", () => {
    dir.make("elsewhere", "echo mine > file");
    const places = {
      pristine: dir.make("p", "mkdir e; echo p > e/file"),
      current: dir.make("c", "ln -s ../elsewhere e"),
      next: dir.make("n", "mkdir e; echo p > e/file; echo n > other"),
    };
    merge(places);
    expect(lstatSync(join(out(), "e")).isSymbolicLink()).toBe(true);
    expect(readFileSync(join(dir.path, "elsewhere/file"), "utf8")).toBe("mine\n");
    expect(existsSync(join(out(), "other"))).toBe(true);
  });

  test(".updated goes, sockets are named, fifos and devices carried over and named", async () => {
    const places = {
      pristine: dir.make("p", "echo > .updated"),
      current: dir.make("c", "echo x > .updated; mkfifo -m 622 pipe"),
      next: dir.make("n", "echo > .updated"),
    };
    const { createServer } = await import("node:net");
    const server = createServer().listen(join(dir.path, "c/socket"));
    await new Promise((resolve) => server.once("listening", resolve));
    merge(places);
    server.close();
    expect(readdirSync(out())).toEqual(["pipe"]);
    expect(lstatSync(join(out(), "pipe")).mode).toBe(0o010622);
    expect(JSON.parse(readFileSync(join(dir.path, "state/etc-merge.json"), "utf8"))).toEqual({
      version: 1,
      outcome: "merged",
      strategy: "fail",
      local: [{ path: "pipe", change: "added", type: "fifo" }],
      steps: [{ path: "pipe", change: "added", type: "fifo" }],
      conflicts: [],
      special: [{ path: "pipe", type: "fifo" }],
      sockets: ["socket"],
      mounts: [],
    });
  });
});

describe("conflicts", () => {
  const three = () => ({
    pristine: dir.make("p", "echo p > f"),
    current: dir.make("c", "echo c > f"),
    next: dir.make("n", "mkdir f; echo n > f/x"),
  });

  test("without a decision: an error, the report, and the old directory as it was", () => {
    const places = three();
    dir.make("state", "mkdir etc; echo old > etc/old");
    expect(() => merge(places)).toThrow(EtcConflictsError);
    expect(() => merge(places)).toThrow(
      "conflicts in /etc: f: a file here, and a directory in the new image",
    );
    expect(readdirSync(join(dir.path, "state"))).toEqual(["etc", "etc-merge.json"]);
    expect(readdirSync(out())).toEqual(["old"]);
    expect(JSON.parse(readFileSync(join(dir.path, "state/etc-merge.json"), "utf8"))).toMatchObject({
      outcome: "blocked",
      conflicts: [{ path: "f", kind: "directory-in-image", resolution: "none" }],
    });
  });

  test("merge: the image's version beside, a merged text between", () => {
    const places = three();
    const lines = (...all: string[]) => `${all.join("\n")}\n`;
    writeFileSync(join(dir.path, "p/t"), lines("a", "b", "c", "d"));
    writeFileSync(join(dir.path, "c/t"), lines("A", "b", "c", "d"));
    writeFileSync(join(dir.path, "n/t"), lines("a", "b", "c", "D"));
    merge(places, { strategy: "merge" });
    expect(readFileSync(join(out(), "t"), "utf8")).toBe(lines("A", "b", "c", "D"));
    expect(readFileSync(join(out(), "f"), "utf8")).toBe("c\n");
    expect(readFileSync(join(out(), "f.cfsboot-conflict/x"), "utf8")).toBe("n\n");
  });
});

describe("while somebody works in it", () => {
  const three = () => ({
    pristine: dir.make("p", "echo 1 > f"),
    current: dir.make("c", "echo 2 > f; echo own > own; ln -s own link"),
    next: dir.make("n", "echo 1 > f"),
  });

  /** Does something once, before the `nth` call of this name that is about `what`. */
  function interfering(
    name: "openat2" | "readdir",
    what: string,
    nth: number,
    act: () => void,
  ): Linux {
    let count = 0;
    return {
      ...quickLinux,
      [name]: (...args: never[]) => {
        if (Buffer.from((args[1] ?? "") as string).toString() === what && ++count === nth) act();
        return (quickLinux[name] as (...args: never[]) => unknown)(...args);
      },
    };
  }

  test("what vanishes before it is opened was not there", () => {
    const linux = interfering("openat2", "own", 1, () =>
      execFileSync("rm", [join(dir.path, "c/own")]),
    );
    merge(three(), { linux });
    expect(readdirSync(out()).sort()).toEqual(["f", "link"]);
  });

  test("what changes between its discovery and its copy is read again", () => {
    const own = join(dir.path, "c/own");
    const linux = interfering("openat2", "own", 2, () => writeFileSync(own, "changed meanwhile"));
    merge(three(), { linux });
    expect(readFileSync(join(out(), "own"), "utf8")).toBe("changed meanwhile");
  });

  test("what becomes a symlink to somewhere else is not followed", () => {
    const own = join(dir.path, "c/own");
    const linux = interfering("openat2", "own", 2, () => {
      execFileSync("rm", [own]);
      symlinkSync("/etc/passwd", own);
    });
    merge(three(), { linux });
    expect(lstatSync(join(out(), "own")).isSymbolicLink()).toBe(true);
  });

  test("what never rests is an error that names it", () => {
    let time = 1;
    const linux: Linux = {
      ...quickLinux,
      openat2(dirfd, path, how) {
        if (Buffer.from(path as Uint8Array).toString() === "own")
          utimesSync(join(dir.path, "c/own"), 0, time++);
        return quickLinux.openat2(dirfd, path, how);
      },
    };
    expect(() => merge(three(), { linux })).toThrow(/c\/own changed while it was read$/);
    expect(existsSync(out())).toBe(false);
  });
});

describe("on file systems that can do less", () => {
  const fail = (errno: number, code: string) => (fd: unknown) => {
    throw new LinuxError(errno, code, code, "copy", String(fd));
  };
  test.each<[string, Partial<Linux>]>([
    ["no shared blocks", { ioctlValue: fail(95, "EOPNOTSUPP") }],
    [
      "no copy in the kernel",
      { ioctlValue: fail(18, "EXDEV"), copy_file_range: fail(18, "EXDEV") },
    ],
    ["one that copies nothing", { ioctlValue: fail(25, "ENOTTY"), copy_file_range: () => 0 }],
    ["no clones of mounts", { open_tree: fail(1, "EPERM") }],
  ])("%s: the content is the same", (_, calls) => {
    const current = dir.make("c", "head -c 1000000 /dev/urandom > f; : > empty");
    merge(
      { pristine: dir.make("p"), current, next: dir.make("n") },
      { linux: { ...quickLinux, ...calls } },
    );
    expect(contentsOf(out()).f).toEqual(contentsOf(current).f);
  });

  test("extended attributes that cannot be written are an error that names file and attribute", () => {
    const places = {
      pristine: dir.make("p"),
      current: dir.make("c", "mkdir d; echo > d/f; setfattr -n user.a -v 1 d/f"),
      next: dir.make("n"),
    };
    const linux = { ...quickLinux, lsetxattr: fail(95, "EOPNOTSUPP") };
    expect(() => merge(places, { linux })).toThrow(/^etc\.new\/d\/f$/);
    expect(readdirSync(join(dir.path, "state"))).toEqual([]);
  });

  test("a directory that is too deep", () => {
    const places = {
      pristine: dir.make("p"),
      current: dir.make("c", "i=0; while [ $i -lt 205 ]; do mkdir d; cd d; i=$((i+1)); done"),
      next: dir.make("n"),
    };
    expect(() => merge(places)).toThrow("more than 200 directories deep");
  });
});

test("any three directories: what the plan says is what is there", () => {
  const names = ["a", "b", "c"];
  const file = fc.constantFrom(
    ...["x", "y", "z"].map((t) => `echo ${t} > N`),
    "ln -s t N",
    "mkfifo N",
  );
  const many = fc.dictionary(fc.constantFrom(...names), file, { noNullPrototype: true });
  const script = fc
    .tuple(many, fc.dictionary(fc.constantFrom("b", "c", "d"), many, { noNullPrototype: true }))
    .map(([files, dirs]) =>
      [
        ...Object.entries(dirs).map(
          ([d, of]) =>
            `mkdir ${d}; ${Object.entries(of)
              .map(([n, make]) => `${make.replace("N", `${d}/${n}`)};`)
              .join("")}`,
        ),
        ...Object.entries(files).map(
          ([n, make]) => `[ -e ${n} ] || [ -L ${n} ] || ${make.replace("N", n)}`,
        ),
        `for f in *; do touch -h -d @${Object.keys(dirs).length} -- "$f" 2>/dev/null || :; done; :`,
      ].join("\n"),
    );
  fc.assert(
    fc.property(script, script, script, (p, c, n) => {
      const before = dir;
      dir = scratch("/dev/shm");
      try {
        const places = {
          pristine: dir.make("p", p),
          current: dir.make("c", c),
          next: dir.make("n", n),
        };
        const [mine, theirs] = [contentsOf(places.current), contentsOf(places.next)];
        const { steps } = merge(places, { strategy: "keep-local" });
        const result = contentsOf(out());
        const changed = new Set<string>(steps.map(({ path }) => path));
        for (const [path, entry] of Object.entries(result)) {
          const { mtimeSec: _, mtimeNsec: __, ...rest } = entry as Record<string, unknown>;
          expect((changed.has(path) ? mine : theirs)[path]).toMatchObject(rest);
        }
        expect(contentsOf(places.current)).toEqual(mine);
        expect(contentsOf(places.next)).toEqual(theirs);
      } finally {
        dir[Symbol.dispose]();
        dir = before;
      }
    }),
    { numRuns: 40 },
  );
});
