/** `cfsboot` with repositories where kernel and file system have fs-verity. What is asserted is what the kernel measures. */
import { createHash } from "node:crypto";
import {
  copyFileSync,
  cpSync,
  globSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { HashName } from "../src/formats/digest.ts";
import { image, tar, writeLayout } from "../test/oci/fixtures/images.ts";
import { CACHE, PROJECT } from "./harness/cache.ts";
import { makeExt4 } from "./harness/ext4.ts";
import { ImageFiles } from "./harness/image-files.ts";
import { answer, mountAt } from "./harness/observations.ts";
import { type Booted, boot } from "./harness/qemu.ts";
import { cfsboot, deployment, disk } from "./harness/systems.ts";

/** What the image holds. The large file has a Merkle tree of several levels, with either hash. */
const FILES = {
  "usr/large": Array.from({ length: 60_000 }, (_, line) => `line ${line}\n`).join(""),
  "usr/one-block": "x".repeat(4096),
  "usr/small": "so small that it is in the image",
  "usr/upper": "the upper layer has another content than the lower one ".repeat(2),
};
type Path = keyof typeof FILES;
const file = (path: Path) => ({ path, data: FILES[path] });

const IMAGE = image([
  {
    compression: "gzip",
    tar: tar([
      { path: "usr/" },
      { path: "usr/removed", data: "a whiteout removes this file. ".repeat(10) },
      { path: "usr/upper", data: "the content that the lower layer has. ".repeat(10) },
      file("usr/large"),
      file("usr/small"),
    ]),
  },
  {
    compression: "zstd",
    tar: tar([{ path: "usr/.wh.removed" }, file("usr/one-block"), file("usr/upper")]),
  },
]);

/** Where the guest has the test's disk. */
const DISK = "/mnt";
const RUN = `${DISK}/node ${DISK}/cfsboot/cfsboot.mjs`;
/** In the guest it tells where the image came from. */
const NAME = `oci:${DISK}/layout`;
const MOUNT_DISK = `mount /dev/vdb ${DISK}`;

/** Has the kernel measure all objects of a repository and its meta.json. */
const measure = (repository: string) =>
  `cd ${repository} && find objects -type f -exec fsverity measure {} + && fsverity measure meta.json`;
/** What it says where the file system has fs-verity and the file has not. */
const NOT_SEALED = "No data available";

const readAll = (root: string) => `cd ${root} && find usr -type f | sort | xargs sha256sum`;
const CONTENT = Object.entries(FILES)
  .map(([path, text]) => `${createHash("sha256").update(text).digest("hex")}  ${path}`)
  .join("\n");

/** Puts a copy, which is without fs-verity, in a file's place. */
const unseal = (path: string) => `cp ${path} new && mv new ${path}`;
/** Overwrites a byte of a file's second block on the disk, which is not mounted. */
const overwrite = (path: string) =>
  `block=$(debugfs -R 'bmap ${path} 1' /dev/vdb 2>/dev/null) && ` +
  `printf '\\0' | dd of=/dev/vdb bs=1 seek=$((block * 4096)) conv=notrunc status=none`;

/** Runs commands one after the other; all must succeed. */
const all = (...commands: string[]) => commands.join(" && ");

/** Repositories without fs-verity, on this machine and by their hash. The guest has the sha256 one, too. */
let host: Readonly<Record<HashName, string>>;
let scratch: string;
let guest: Booted;

beforeAll(async () => {
  mkdirSync(CACHE, { recursive: true });
  scratch = mkdtempSync(join(CACHE, "test-"));
  const stage = join(scratch, "stage");
  mkdirSync(join(stage, "cfsboot"), { recursive: true });
  // the one of this project: another one may need libraries that the guest has not
  copyFileSync(join(PROJECT, "node_modules/node/bin/node"), join(stage, "node"));
  for (const name of ["cfsboot.mjs", "linux.node"])
    copyFileSync(join(PROJECT, "dist", name), join(stage, "cfsboot", name));
  const layout = join(stage, "layout");
  mkdirSync(layout);
  writeLayout(layout, [{ image: IMAGE }]);

  host = { sha256: join(stage, "sealed"), sha512: join(scratch, "sha512") };
  for (const [hash, repository] of Object.entries(host)) {
    cfsboot("repo", "init", "--repo", repository, "--hash", hash, "--insecure");
    cfsboot("image", "pull", `oci:${layout}`, NAME, "--repo", repository);
  }
  const damaged = join(stage, "damaged");
  cpSync(host.sha256, damaged, { recursive: true, verbatimSymlinks: true });
  const victim = join(damaged, objectOf("usr/large", "sha256"));
  const bytes = readFileSync(victim);
  bytes[5000]! ^= 1;
  writeFileSync(victim, bytes);
  const data = join(scratch, "disk");
  makeExt4(data, stage, { verity: true, freeMib: 64 });

  const large = objectOf("usr/large", "sha512");
  const imageObject = "$(readlink -f images/*)";
  const trixie = await deployment("trixie", "sha512");
  guest = await boot({
    name: "repository",
    kernel: trixie.kernel,
    initramfs: trixie.initramfs,
    disk: await disk(trixie, { sealed: true }),
    moreDisks: [data],
    append: [`composefs=${trixie.digest}`],
    cpus: 2,
    checks: {
      mountDisk: all(MOUNT_DISK, "cd /run", "mkdir at-sealed at-secure plain"),

      // a repository that was made without fs-verity
      open: `fsverity measure ${DISK}/sealed/meta.json`,
      seal: `${RUN} repo seal --repo ${DISK}/sealed`,
      sealed: measure(`${DISK}/sealed`),
      sealAgain: `${RUN} repo seal --repo ${DISK}/sealed`,
      mountSealed: `${RUN} mount ${NAME} /run/at-sealed --repo ${DISK}/sealed`,
      readSealed: readAll("/run/at-sealed"),

      // one that is damaged
      sealDamaged: `${RUN} repo seal --repo ${DISK}/damaged`,
      stillOpen: `fsverity measure ${DISK}/damaged/meta.json`,
      repairDamaged: `${RUN} repo fsck --repair --repo ${DISK}/damaged`,
      sealRepaired: `${RUN} repo seal --repo ${DISK}/damaged`,
      repairedAndSealed: measure(`${DISK}/damaged`),

      // one with fs-verity from the start; two processes write the same objects
      init: `${RUN} repo init --repo ${DISK}/secure`,
      initAgain: `${RUN} repo init --repo ${DISK}/secure`,
      pull:
        `${RUN} image pull ${NAME} second --repo ${DISK}/secure >/dev/null & ` +
        `${RUN} image pull ${NAME} --repo ${DISK}/secure && wait $!`,
      secure: measure(`${DISK}/secure`),
      digest: `${RUN} image digest ${NAME} --repo ${DISK}/secure`,
      list: `${RUN} image list --json --repo ${DISK}/secure`,
      mountSecure: `${RUN} mount ${NAME} /run/at-secure --repo ${DISK}/secure`,
      readSecure: readAll("/run/at-secure"),
      write: `cd ${DISK}/secure && echo > ${large}`,

      mountinfo: "cat /proc/self/mountinfo",

      // damage on the disk, and by who may replace files
      damage: all(
        `umount /run/at-sealed /run/at-secure ${DISK}`,
        overwrite(`/secure/${large}`),
        MOUNT_DISK,
        `cd ${DISK}/secure`,
        unseal(objectOf("usr/one-block", "sha512")),
      ),
      mountDamaged: `${RUN} mount ${NAME} /run/at-secure --repo ${DISK}/secure`,
      readDamaged: readAll("/run/at-secure"),
      umountDamaged: all("umount /run/at-secure", `cd ${DISK}/secure`, unseal(imageObject)),
      mountUnsealed: `${RUN} mount ${NAME} /run/at-secure --repo ${DISK}/secure`,
      repair: `${RUN} repo fsck --read-data --repair --repo ${DISK}/secure`,
      mountRepaired: `${RUN} mount ${NAME} /run/at-secure --repo ${DISK}/secure`,
      readRepaired: readAll("/run/at-secure"),
      repaired: measure(`${DISK}/secure`),
      umountRepaired: "umount /run/at-secure",

      changes: all(
        "mkdir /run/upper /run/work",
        `${RUN} mount --read-write --upperdir /run/upper --workdir /run/work ${NAME} /run/at-secure --repo ${DISK}/secure`,
        "cd /run/at-secure/usr",
        "echo more >> one-block",
        "rm small",
        "wc -c one-block large",
        "cd /",
        "umount /run/at-secure",
      ),
      damageMetadata: all(`cd ${DISK}/secure`, "printf '{' > new", "mv new meta.json"),
      mend: `${RUN} repo fsck --repair --repo ${DISK}/secure`,
      mended: measure(`${DISK}/secure`),

      collectSome: `${RUN} repo gc --repo ${DISK}/secure`,
      collectAll: all(
        `cd ${DISK}/secure`,
        "find streams/refs -type l -delete",
        `${RUN} repo gc --repo ${DISK}/secure`,
        "find objects -type f",
      ),
      add: `${RUN} repo add --no-propagate-usr-to-root ${DISK}/layout tree --repo ${DISK}/secure`,
      added: measure(`${DISK}/secure`),
      reset: `${RUN} repo init --reset-metadata --hash sha256 --repo ${DISK}/secure`,
      afterReset: measure(`${DISK}/secure`),
      e2fsck: all(`umount ${DISK}`, "e2fsck -fn /dev/vdb", MOUNT_DISK),

      // where there is no fs-verity
      initTmpfs: `${RUN} repo init --repo /run/repository`,
      leftInTmpfs: "ls -d /run/repository",
      plain: all(
        "truncate -s 16M /run/image",
        "mke2fs -q -t ext4 -O ^verity /run/image",
        "mount -o loop /run/image /run/plain",
        `cp -r ${DISK}/damaged /run/plain/repository`,
      ),
      initPlain: `${RUN} repo init --repo /run/plain/new`,
      sealPlain: `${RUN} repo seal --repo /run/plain/repository`,
    },
  });
}, 20 * 60_000);
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

function digestOf(hash: HashName): string {
  return cfsboot("image", "digest", NAME, "--repo", host[hash]).trim();
}

/** The object of a file, relative to the repository. */
function objectOf(path: Path, hash: HashName): string {
  return new ImageFiles(host[hash], digestOf(hash)).object(path);
}

function objectsOf(hash: HashName): string[] {
  return globSync("objects/*/*", { cwd: host[hash] }).sort();
}

function expectDone(name: string, output = ""): void {
  expect(guest.answers[name]).toEqual({ status: 0, output });
}

function expectError(name: string, line: string): void {
  const { status, output } = guest.answers[name]!;
  expect(output.split("\n")[0]).toBe(`cfsboot: error: ${line}`);
  expect(status).toBe(1);
}

/** The objects are those that the host has, each has its name for digest, and meta.json has fs-verity. */
function expectMeasured(name: string, hash: HashName): void {
  const lines = answer(guest, name).split("\n");
  expect(lines.pop()).toMatch(new RegExp(`^${hash}:[0-9a-f]+ meta\\.json$`));
  const digest = (path: string) => path.slice("objects/".length).replace("/", "");
  const objects = objectsOf(hash);
  expect(objects.length).toBeGreaterThan(Object.keys(FILES).length);
  expect(lines.sort()).toEqual(objects.map((path) => `${hash}:${digest(path)} ${path}`).sort());
}

function expectMounted(target: string, hash: HashName): void {
  const mount = mountAt(guest, target);
  expect(mount).toMatchObject({ type: "overlay", source: `composefs:${digestOf(hash)}` });
  expect(mount.options).toContain("ro");
  expect(mount.superOptions).toContain("verity=require");
}

test("the file system is sound after all that was done to it", () => {
  expectDone("mountDisk");
  expect(guest.answers.e2fsck).toMatchObject({ status: 0 });
});

describe("repo seal", () => {
  const sealed = (name: string, enabled: number, how = "is sealed") =>
    `Repository at ${DISK}/${name} ${how}\n  objects: ${objectsOf("sha256").length}, fs-verity enabled on ${enabled} of them`;

  test("enables fs-verity on every object and on meta.json", () => {
    expect(answer(guest, "open")).toMatch(NOT_SEALED);
    expectDone("seal", sealed("sealed", objectsOf("sha256").length));
    expectMeasured("sealed", "sha256");
  });

  test("does nothing the second time", () => {
    expectDone("sealAgain", sealed("sealed", 0, "was sealed already"));
  });

  test("makes a repository whose images are mounted with fs-verity required", () => {
    expectDone("mountSealed");
    expectMounted("/run/at-sealed", "sha256");
    expectDone("readSealed", CONTENT);
  });

  test("names an object that is damaged, and then leaves the repository as open as it was", () => {
    const digest = objectOf("usr/large", "sha256").slice("objects/".length).replace("/", "");
    const count = objectsOf("sha256").length;
    expectError(
      "sealDamaged",
      `seal ${DISK}/damaged: not sealed, 1 of ${count} objects are damaged: ${digest}`,
    );
    expect(answer(guest, "stillOpen")).toMatch(NOT_SEALED);
  });

  test("seals after a repair", () => {
    expect(guest.answers.repairDamaged).toMatchObject({ status: 0 });
    expect(answer(guest, "repairDamaged")).toMatch(
      "repaired: 1 error(s)\nnot repaired: 0 error(s)",
    );
    expect(guest.answers.sealRepaired?.status).toBe(0);
    expectMeasured("repairedAndSealed", "sha256");
  });
});

describe("a repository with fs-verity from the start", () => {
  test("is made once", () => {
    expect(guest.answers.init?.status).toBe(0);
    expect(answer(guest, "init")).toMatch("verity:    required");
    expectDone("initAgain", `Repository already initialized at ${DISK}/secure`);
  });

  test("takes an image from two processes at once, every object measured", () => {
    expect(guest.answers.pull?.status).toBe(0);
    expect(answer(guest, "pull")).toMatch(`manifest ${IMAGE.manifest.digest}\n`);
    expectMeasured("secure", "sha512");
    expectDone("digest", digestOf("sha512"));
    expect(JSON.parse(answer(guest, "list")).images).toMatchObject([
      { name: NAME, manifest_digest: IMAGE.manifest.digest, layer_count: 2 },
      { name: "second", manifest_digest: IMAGE.manifest.digest, layer_count: 2 },
    ]);
  });

  test("has its images mounted with fs-verity required", () => {
    expectDone("mountSecure");
    expectMounted("/run/at-secure", "sha512");
    expectDone("readSecure", CONTENT);
  });

  test("does not let even root write to an object", () => {
    expect(answer(guest, "write")).toMatch("Operation not permitted");
  });

  test("gives EIO for damaged files, refuses an image without fs-verity, and is repaired", () => {
    expectDone("damage");
    expectDone("mountDamaged");
    const damaged = CONTENT.split("\n").map((line) =>
      line.replace(/^.*(usr\/(?:large|one-block))$/, "sha256sum: $1: Input/output error"),
    );
    expect(answer(guest, "readDamaged").split("\n").sort()).toEqual(damaged.sort());
    expectDone("umountDamaged");
    expectError(
      "mountUnsealed",
      `mount ${NAME}: object ${digestOf("sha512")}: it has no fs-verity`,
    );

    expect(guest.answers.repair?.status).toBe(0);
    expect(answer(guest, "repair")).toMatch(
      /^ {2}- fsck: object-verity-failed: .*Input\/output error$/m,
    );
    expect(answer(guest, "repair")).toMatch("not repaired: 0 error(s)");
    expectDone("mountRepaired");
    expectDone("readRepaired", CONTENT);
    expectMeasured("repaired", "sha512");
  });

  test("takes changes into a directory beside it", () => {
    const { large, "one-block": block } = {
      large: FILES["usr/large"].length,
      "one-block": FILES["usr/one-block"].length + "more\n".length,
    };
    expect(guest.answers.changes?.status).toBe(0);
    expect(answer(guest, "changes").split(/\s+/).filter(Boolean)).toEqual(
      [block, "one-block", large, "large", block + large, "total"].map(String),
    );
  });

  test("gets its meta.json back, with fs-verity", () => {
    expectDone("damageMetadata");
    expect(guest.answers.mend?.status).toBe(0);
    expect(answer(guest, "mend")).toMatch(
      /^repairing meta\.json: fsverity-sha512-12, EROFS format 1, with fs-verity/m,
    );
    expectMeasured("mended", "sha512");
  });

  test("holds the files of a directory as objects that the kernel has measured", () => {
    expect(guest.answers.add?.status).toBe(0);
    expect(answer(guest, "add")).toMatch(/^sha512:[0-9a-f]{128}$/m);
    const lines = answer(guest, "added").split("\n");
    expect(lines.length).toBeGreaterThan(4);
    for (const line of lines) {
      expect(line).toMatch(/^sha512:([0-9a-f]{2})([0-9a-f]{126}) (objects\/\1\/\2|meta\.json)$/);
    }
  });

  test("is begun anew with another hash, and then demands fs-verity again", () => {
    expect(guest.answers.reset?.status).toBe(0);
    expect(answer(guest, "reset")).toMatch("algorithm: fsverity-sha256-12\n  verity:    required");
    // nothing else than meta.json is left
    expect(answer(guest, "afterReset")).toMatch(/^sha256:[0-9a-f]{64} meta\.json$/);
  });

  test("loses what nothing names, and nothing else, to the garbage collection", () => {
    const dryRun = cfsboot("repo", "gc", "--dry-run", "--repo", host.sha512);
    expectDone("collectSome", dryRun.replace(/^.*\n/, "").trim());
    // no name of a file follows
    expect(guest.answers.collectAll).toMatchObject({
      status: 0,
      output: expect.stringMatching(/^Objects: .*\nPruned symlinks: 1 images, 4 streams$/),
    });
  });
});

describe("without fs-verity", () => {
  const why = "the file system or the kernel has no fs-verity";
  const hint =
    "hint: ext4 needs its feature verity (tune2fs -O verity); btrfs and f2fs always have fs-verity";

  test.each([
    ["initTmpfs", "/run/repository"],
    ["initPlain", "/run/plain/new"],
  ])("no repository is made that demands it (%s)", (name, path) => {
    expectError(name, `make a repository at ${path}: meta.json: ${why}`);
    expect(answer(guest, name).split("\n").slice(1)).toEqual([
      "hint: --insecure makes one that does without fs-verity",
      hint,
    ]);
  });

  test("nothing is left of one that was not made", () => {
    expect(guest.answers.leftInTmpfs?.status).toBe(2);
  });

  test("no repository is sealed", () => {
    expectDone("plain");
    expect(guest.answers.sealPlain?.status).toBe(1);
    const [error, ...hints] = answer(guest, "sealPlain").split("\n");
    expect(error).toMatch(/^cfsboot: error: seal \/run\/plain\/repository: object [0-9a-f]{64}: /);
    expect(error?.endsWith(why)).toBe(true);
    expect(hints).toEqual([hint]);
  });
});
