/** Boot partitions that have lost something: what tells of it, and what writes it again. */
import {
  cpSync,
  existsSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
} from "node:fs";
import { join } from "node:path";
import { beforeEach, describe, expect, test } from "vitest";
import { linux } from "../../userspace/linux.ts";
import { TestMachine } from "../deployment/machine.ts";
import { fail, run, succeed } from "./on-machine.ts";
import { publishIn } from "./publish.ts";

beforeEach((ctx) => {
  if (linux.geteuid() !== 0) ctx.skip("not root: the owners in /etc cannot be made");
});

const OPTIONS = "root=UUID=1234 rw";

/** A machine that runs version 2, behind it version 1, each with a kernel of its own. */
async function updated() {
  const machine = new TestMachine();
  const follow = (version: string) => {
    const os = { version, kernel: `${version}`.repeat(100), kargs: [`image=${version}`] };
    const reference = publishIn(machine.path, os);
    return { os, reference: { transport: "oci", name: reference, signature: undefined } as const };
  };
  const { os, reference } = follow("1");
  await machine.stage(os, { counted: false, reference, options: OPTIONS });
  const first = machine.boot();
  follow("2");
  succeed(machine, "upgrade");
  succeed(machine, "finalize-staged");
  const second = machine.boot();
  succeed(machine, "boot-complete");
  const cmdline = `initrd=\\EFI\\Linux\\x\\initrd ${OPTIONS} composefs=?${second} image=2`;
  return { machine, first, second, cmdline, follow };
}

type Machine = TestMachine;
const status = (machine: Machine) =>
  JSON.parse(succeed(machine, "status", "--json")) as {
    readonly status: { readonly booted: unknown };
    readonly cfsboot: {
      readonly warnings: readonly string[];
      readonly deployments: readonly {
        readonly id: string;
        readonly options: string;
        readonly damage: readonly string[];
      }[];
    };
  };
const menu = (machine: Machine) =>
  status(machine).cfsboot.deployments.map(({ id, options }) => ({ id, options }));
const esp = (machine: Machine, path: string) => join(machine.path, "esp", path);
const kernel = (machine: Machine, id: string, file = "") =>
  esp(machine, `EFI/Linux/bootc_composefs-${id}/${file}`);

/** All that is on the ESP, by path. */
function files(machine: Machine): Record<string, string> {
  const all = readdirSync(esp(machine, "."), { recursive: true, withFileTypes: true });
  return Object.fromEntries(
    all
      .filter((one) => one.isFile())
      .map(({ parentPath, name }) => join(parentPath, name))
      .sort()
      .map((path) => [path, readFileSync(path, "latin1")]),
  );
}

describe("a menu that has lost what runs", () => {
  test("is written again by rollback booted, as it was", async () => {
    const { machine, second, cmdline } = await updated();
    using _ = machine;
    const [entry] = readdirSync(esp(machine, "loader/entries")).filter((name) =>
      readFileSync(esp(machine, `loader/entries/${name}`), "utf8").includes(second),
    );
    const before = menu(machine);
    rmSync(esp(machine, `loader/entries/${entry}`));
    expect(status(machine)).toMatchObject({
      status: { booted: { composefs: { verity: second } } },
      cfsboot: {
        warnings: [
          "What runs is not in the boot menu: cfsboot upgrade, or cfsboot rollback booted, writes its entry again.",
        ],
      },
    });
    const lost = files(machine);
    const name = second.slice(0, 12);
    expect(succeed(machine, "rollback", "booted", "--dry-run", "--cmdline", cmdline)).toBe(
      `write the entry of ${name} again: ${before[0]!.options}\n` +
        `write the boot menu: ${name}, ${before[1]!.id.slice(0, 12)}\n`,
    );
    // an index is that which status has shown
    expect(succeed(machine, "rollback", "0", "--dry-run", "--cmdline", cmdline)).toContain(
      `write the boot menu: ${before[1]!.id.slice(0, 12)}, ${name}\n`,
    );
    expect(files(machine)).toEqual(lost);
    expect(succeed(machine, "rollback", "booted", "--cmdline", cmdline)).toMatch(
      new RegExp(`^Mended: write the entry of ${name} again: .*\nNext boot: 0 ${name} .*booted`),
    );
    expect(menu(machine)).toEqual(before);
    expect(status(machine).cfsboot.warnings).toEqual([]);
    expect(machine.boot()).toBe(second);
  });

  test("an upgrade writes it before it goes on; what it cannot know is an error", async () => {
    const { machine, first, second, cmdline, follow } = await updated();
    using _ = machine;
    follow("3");
    rmSync(esp(machine, "loader/entries"), { recursive: true });
    const lost = files(machine);
    expect(fail(machine, "upgrade")).toContain("the kernel's arguments are not known");
    expect(files(machine)).toEqual(lost);
    const checked = run(machine, "upgrade", "--check", "--cmdline", cmdline);
    expect(checked.stderr).toContain("which cfsboot upgrade writes again");
    expect(checked.stdout).toContain("Update available");
    const told = run(machine, "upgrade", "--dry-run", "--cmdline", cmdline);
    expect(told.stdout).toMatch(/^write the entry of .*\n(.*\n)*stage it; it follows oci:/);
    expect(files(machine)).toEqual(lost);
    const done = run(machine, "upgrade", "--cmdline", cmdline);
    expect(done.stdout).toContain("Queued for next boot: ");
    expect(menu(machine).map(({ id }) => id)).toEqual([expect.any(String), second, first]);
  });
});

describe("a boot partition that was made anew", () => {
  test("gets the kernels and entries of all deployments, and says what it does not get", async () => {
    const { machine, first, second, cmdline, follow } = await updated();
    using _ = machine;
    const before = menu(machine);
    const kernels = Object.entries(files(machine)).filter(([path]) => path.includes("EFI/Linux"));
    follow("3");
    succeed(machine, "upgrade", "--download-only");
    for (const name of readdirSync(esp(machine, "."))) {
      rmSync(esp(machine, name), { recursive: true });
    }
    const {
      status: exit,
      stdout,
      stderr,
    } = run(...([machine, "rollback", "booted", "--cmdline", cmdline] as const));
    expect(exit).toBe(0);
    expect(stdout).toContain(`Mended: write kernel 6.12 again to ${esp(machine, ".")}`);
    expect(stderr).toContain("bootctl install puts it there");
    expect(menu(machine)).toEqual(before);
    expect(Object.entries(files(machine)).filter(([path]) => path.includes("EFI/Linux"))).toEqual(
      kernels,
    );
    succeed(machine, "rollback");
    expect(machine.boot()).toBe(first);
    succeed(machine, "rollback");
    expect(machine.boot()).toBe(second);
  });
});

describe("kernels", () => {
  test("that of what runs is written again by an upgrade that finds nothing new", async () => {
    const { machine, second } = await updated();
    using _ = machine;
    const before = files(machine);
    truncateSync(kernel(machine, second, "initrd"));
    const { warnings, deployments } = status(machine).cfsboot;
    expect(warnings).toEqual([
      `The kernel of ${second.slice(0, 12)} is not whole on ${esp(machine, ".")}: cfsboot upgrade, or cfsboot rollback booted, writes it again.`,
    ]);
    expect(deployments[0]!.damage).toEqual([
      `its kernel ${second} is incomplete on the boot partition`,
    ]);
    expect(succeed(machine, "upgrade", "--dry-run")).toMatch(/^write kernel 6\.12 again to /);
    expect(statSync(kernel(machine, second, "initrd")).size).toBe(0);
    expect(succeed(machine, "upgrade")).toMatch(
      /^Mended: write kernel 6\.12 again to .*\nNo changes in oci:.*: it is what runs\n$/,
    );
    expect(files(machine)).toEqual(before);
    expect(succeed(machine, "upgrade")).toMatch(/^No changes/);
  });

  test("that of another is written again before it becomes the default", async () => {
    const { machine, first } = await updated();
    using _ = machine;
    rmSync(kernel(machine, first), { recursive: true });
    expect(succeed(machine, "rollback", "1")).toMatch(/^Mended: .*\nNext boot: 0 /);
    expect(existsSync(kernel(machine, first, "vmlinuz"))).toBe(true);
    expect(machine.boot()).toBe(first);
  });

  test("one whose image is damaged, too, is told, and stops who needs it only", async () => {
    const { machine, first, second } = await updated();
    using _ = machine;
    rmSync(kernel(machine, first), { recursive: true });
    const image = join(machine.path, "sysroot/composefs/images", first);
    renameSync(join(machine.path, "sysroot/composefs/images", first), `${image}.lost`);
    expect(fail(machine, "rollback")).toContain("its image is not in the repository");
    cpSync(`${image}.lost`, image, { verbatimSymlinks: true });
    rmSync(join(machine.path, "sysroot/composefs/images", first));
    const upgraded = run(machine, "upgrade");
    expect(upgraded.status).toBe(0);
    expect(status(machine).cfsboot.deployments[0]!.id).toBe(second);
  });
});

test("of several boot partitions each one is made whole", async () => {
  const { machine, first, second } = await updated();
  using _ = machine;
  const other = join(machine.path, "esp2");
  cpSync(esp(machine, "."), other, { recursive: true });
  rmSync(join(other, `EFI/Linux/bootc_composefs-${second}`), { recursive: true });
  rmSync(join(other, "loader"), { recursive: true });
  const both = ["--boot", other];
  const json = JSON.parse(succeed(machine, "status", "--json", ...both)) as ReturnType<
    typeof status
  >;
  expect(json.cfsboot.warnings).toEqual([
    expect.stringContaining(`The kernel of ${second.slice(0, 12)} is not whole on `),
    expect.stringContaining("lacks entries: cfsboot upgrade"),
  ]);
  expect(succeed(machine, "upgrade", ...both)).toContain(
    `write the boot menu: ${second.slice(0, 12)}, ${first.slice(0, 12)}`,
  );
  for (const part of ["EFI/Linux", "loader/entries"]) {
    expect(readdirSync(join(other, part)).sort()).toEqual(readdirSync(esp(machine, part)).sort());
  }
});
