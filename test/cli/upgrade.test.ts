/** `cfsboot upgrade`, `switch`, `finalize-staged` and what follows, as they are shipped. */
import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { beforeEach, describe, expect, test } from "vitest";
import { linux } from "../../userspace/linux.ts";
import { type OsImage, osLayer, type TestMachine } from "../deployment/machine.ts";
import { image, writeLayout } from "../oci/fixtures/images.ts";
import { fail, run, spawn, succeed } from "./on-machine.ts";
import { installed, publishIn } from "./publish.ts";

beforeEach((ctx) => {
  if (linux.geteuid() !== 0) ctx.skip("not root: the owners in /etc cannot be made");
});

/** Puts an image where upgrades come from; returns the reference. */
function publish(machine: TestMachine, ...image: [OsImage, ("gzip" | "zstd")?]): string {
  return `oci:${publishIn(machine.path, ...image)}`;
}

interface Seen {
  readonly spec: { readonly image: object; readonly bootOrder: string };
  readonly status: { readonly rollbackQueued: boolean };
  readonly cfsboot: {
    readonly deployments: readonly {
      readonly id: string;
      readonly slot: string;
      readonly downloadOnly: boolean;
      readonly pinned: boolean;
    }[];
  };
}
const look = (machine: TestMachine) => JSON.parse(succeed(machine, "status", "--json")) as Seen;
const slots = (machine: TestMachine) => look(machine).cfsboot.deployments.map(({ slot }) => slot);

function restart(machine: TestMachine): string {
  const before = machine.names("esp/loader/entries");
  expect(succeed(machine, "finalize-staged", "--dry-run")).toMatch(
    /^merge .*root\/etc into that of /,
  );
  expect(machine.names("esp/loader/entries")).toEqual(before);
  succeed(machine, "finalize-staged");
  return machine.boot();
}

describe("upgrade", () => {
  test("stages what is new, and a restart boots it", async () => {
    using machine = await installed();
    const first = machine.running!;
    publish(machine, { version: "2" });
    const text = succeed(machine, "upgrade");
    expect(text).toMatch(
      /^Queued for next boot: oci:.*\n {2}Digest: sha256:[0-9a-f]{64}\n {2}Deployment: [0-9a-f]{12}\n/,
    );
    expect(slots(machine)).toEqual(["staged", "booted"]);
    expect(restart(machine)).not.toBe(first);
    expect(slots(machine)).toEqual(["booted", "rollback"]);
  });

  test("does nothing when there is nothing new, and says so (bootc#1906)", async () => {
    using machine = await installed();
    expect(succeed(machine, "upgrade")).toMatch(/^No changes in oci:.*: it is what runs\n$/);
    expect(slots(machine)).toEqual(["booted"]);
    publish(machine, { version: "2" });
    succeed(machine, "upgrade");
    expect(succeed(machine, "update")).toMatch(/: it is staged already\n$/);
  });

  test("an image that only its compression tells from the running one is not fetched (bcvk#307, bcvk#313)", async () => {
    using machine = await installed();
    publish(machine, { version: "1" }, "zstd");
    const before = machine.names("sysroot/composefs/streams");
    expect(succeed(machine, "upgrade")).toContain(": it is what runs\n");
    expect(machine.names("sysroot/composefs/streams")).toEqual(before);
  });

  test("after a rollback what was left is not staged again (snosi#350, snosi#745)", async () => {
    using machine = await installed();
    publish(machine, { version: "2" });
    succeed(machine, "upgrade");
    const second = restart(machine);
    succeed(machine, "rollback");
    machine.boot();
    expect(succeed(machine, "upgrade")).toContain(
      `it is that of the rollback deployment ${second.slice(0, 12)}; cfsboot rollback ${second.slice(0, 12)} boots it`,
    );
  });

  test("--check tells, and changes nothing (bootc defect: check stages)", async () => {
    using machine = await installed();
    expect(succeed(machine, "upgrade", "--check")).toContain("No changes in ");
    publish(machine, { version: "2" });
    const before = machine.names("sysroot/composefs/streams");
    expect(succeed(machine, "upgrade", "--check")).toMatch(
      /^Update available for: oci:.*\n {2}Digest: sha256:.*\n {2}To be fetched: 1 of 1 layers, .*B\n$/,
    );
    expect(JSON.parse(succeed(machine, "upgrade", "--check", "--json"))).toMatchObject({
      available: true,
      deployment: null,
      layers: { missing: 1, all: 1 },
    });
    expect(machine.names("sysroot/composefs/streams")).toEqual(before);
    expect(slots(machine)).toEqual(["booted"]);
  });

  test("--dry-run tells what would be done, and does nothing", async () => {
    using machine = await installed();
    publish(machine, { version: "2" });
    const lines = succeed(machine, "upgrade", "--dry-run").split("\n");
    expect(lines).toEqual([
      expect.stringMatching(/^fetch oci:.* \(sha256:.*\): 1 of 1 layers, /),
      "check what only the content tells: whether it comes up, room on the boot partition, conflicts in /etc",
      expect.stringMatching(/^stage it; it follows oci:/),
      "remove what no deployment needs any more",
      "",
    ]);
    expect(slots(machine)).toEqual(["booted"]);
  });

  test("--dry-run of what is in the repository already checks all that staging checks", async () => {
    using machine = await installed();
    const reference = publish(machine, { version: "2", etc: { "app.conf": "2\n" } });
    const repository = join(machine.path, "sysroot/composefs");
    const { status } = spawn("image", "pull", "--repo", repository, reference, "tried");
    expect(status).toBe(0);
    const before = machine.names("sysroot/composefs/images");
    expect(succeed(machine, "upgrade", "--dry-run").split("\n")).toEqual([
      expect.stringMatching(/^take oci:.* \(sha256:[0-9a-f]{64}\) from the repository$/),
      expect.stringMatching(/^stage it as [0-9a-f]{12}, with kernel 6\.12; it follows oci:/),
      "remove what no deployment needs any more",
      "",
    ]);
    // somebody has made a directory of what is a file in the image
    mkdirSync(machine.etc("app.conf"));
    expect(fail(machine, "upgrade", "--dry-run")).toMatch(/conflicts in \/etc: app\.conf: /);
    expect(succeed(machine, "upgrade", "--dry-run", "--etc-conflicts", "keep-local")).toMatch(
      /^take /,
    );
    expect(machine.names("sysroot/composefs/images")).toEqual(before);
    expect(slots(machine)).toEqual(["booted"]);
  });

  test("--tag follows another tag from now on", async () => {
    using machine = await installed();
    const layout = join(machine.path, "published");
    const [os, next] = ["1", "2"].map((version) =>
      image([{ tar: osLayer({ version }), compression: "gzip" }]),
    );
    rmSync(layout, { recursive: true });
    mkdirSync(layout);
    writeLayout(layout, [
      { image: os!, tag: "os" },
      { image: next!, tag: "next" },
    ]);
    expect(succeed(machine, "upgrade")).toContain("No changes");
    expect(succeed(machine, "upgrade", "--tag", "next")).toContain(`${layout}:next\n`);
    expect(look(machine).spec.image).toEqual({ image: `${layout}:next`, transport: "oci" });
    expect(succeed(machine, "upgrade")).toContain(`No changes in oci:${layout}:next: `);
  });

  test("--download-only stays until it is unlocked", async () => {
    using machine = await installed();
    const first = machine.running!;
    publish(machine, { version: "2" });
    expect(fail(machine, "upgrade", "--from-downloaded")).toContain(
      "error: nothing is staged\nhint: ",
    );
    expect(succeed(machine, "upgrade", "--download-only")).toMatch(/^Downloaded: oci:/);
    expect(look(machine).cfsboot.deployments[0]).toMatchObject({
      slot: "staged",
      downloadOnly: true,
    });
    expect(succeed(machine, "upgrade", "--download-only")).toContain(
      ": it is downloaded already\n",
    );
    expect(succeed(machine, "finalize-staged")).toBe(
      "Nothing to do: what is staged is only downloaded\n",
    );
    expect(succeed(machine, "upgrade", "--from-downloaded")).toMatch(/^Next boot: 0 /);
    expect(succeed(machine, "upgrade", "--from-downloaded")).toContain("it is staged already");
    expect(restart(machine)).not.toBe(first);
  });

  test.each([["upgrade"], ["switch", "quay.io/example/debian:14"], ["edit"]])(
    "%s: what is only downloaded is not booted at once",
    (...args) => {
      const { status, stderr } = spawn(...args, "--download-only", "--apply");
      expect({ status, stderr }).toMatchObject({
        status: 2,
        stderr: expect.stringContaining("--download-only cannot be with --apply"),
      });
    },
  );

  test("an upgrade without --download-only unlocks what was only downloaded", async () => {
    using machine = await installed();
    publish(machine, { version: "2" });
    succeed(machine, "upgrade", "--download-only");
    expect(succeed(machine, "upgrade")).toMatch(/^Next boot: 0 /);
    expect(look(machine).cfsboot.deployments[0]).toMatchObject({ downloadOnly: false });
  });

  test("a newer image takes the place of a staged one", async () => {
    using machine = await installed();
    publish(machine, { version: "2" });
    succeed(machine, "upgrade");
    const [second] = look(machine).cfsboot.deployments;
    publish(machine, { version: "3" });
    expect(succeed(machine, "upgrade")).toContain(`  Dropped: ${second!.id.slice(0, 12)} `);
    expect(slots(machine)).toEqual(["staged", "booted"]);
    expect(machine.names("sysroot/state/deploy")).not.toContain(second!.id);
  });

  test("conflicts in /etc stop it before anything is staged, and can be decided (bootc#2285, bootc#2286)", async () => {
    using machine = await installed();
    mkdirSync(machine.etc("conf"));
    writeFileSync(machine.etc("conf/x"), "mine");
    publish(machine, { version: "2", etc: { conf: "a file now\n" } });
    expect(fail(machine, "upgrade")).toMatch(
      /error: .*conflicts in \/etc: conf: .*\nhint: --etc-conflicts/,
    );
    expect(slots(machine)).toEqual(["booted"]);
    succeed(machine, "upgrade", "--etc-conflicts", "keep-local");
    const next = restart(machine); // what was chosen counts at shutdown, too
    expect(machine.read(`sysroot/state/deploy/${next}/etc/conf/x`)).toBe("mine");
  });

  test("keeps as many as configured, and pinned ones (bootc#904)", async () => {
    using machine = await installed();
    const first = machine.running!;
    succeed(machine, "pin", "booted");
    mkdirSync(machine.etc("cfsboot"));
    writeFileSync(machine.etc("cfsboot/cfsboot.toml"), "keep = 2\ncount-boots = false\n");
    for (const version of ["2", "3", "4"]) {
      publish(machine, { version });
      succeed(machine, "upgrade");
      restart(machine);
    }
    const { deployments } = look(machine).cfsboot;
    expect(deployments.map(({ slot, pinned }) => [slot, pinned])).toEqual([
      ["booted", false],
      ["rollback", false],
      ["other", true],
    ]);
    expect(deployments[2]!.id).toBe(first);
    expect(machine.names("sysroot/state/deploy")).toEqual(deployments.map(({ id }) => id).sort());
  });

  test("a configuration with a mistake is an error that names the place", async () => {
    using machine = await installed();
    mkdirSync(machine.etc("cfsboot"));
    writeFileSync(machine.etc("cfsboot/cfsboot.toml"), "keep = 1\n");
    publish(machine, { version: "2" });
    expect(fail(machine, "upgrade")).toContain(
      "cfsboot.toml: keep: expected a number from 2 to 1000",
    );
  });

  test("options that contradict each other are wrong usage", async () => {
    using machine = await installed();
    const usage = (...args: string[]) => {
      const { status, stderr } = run(machine, "upgrade", ...args);
      expect(status).toBe(2);
      return stderr;
    };
    expect(usage("--check", "--download-only")).toContain("--check cannot be with --download-only");
    expect(usage("--download-only", "--from-downloaded")).toContain("--from-downloaded");
    expect(usage("--apply")).toContain("--apply reboots the system that runs");
    expect(usage("--keep", "1")).toContain("expected 2 to 1000");
    expect(usage("--progress-fd", "77")).toContain("expected an open pipe");
  });

  test("--progress-fd gets lines of JSON (bootc#522)", async () => {
    using machine = await installed();
    publish(machine, { version: "2" });
    const { optionsOf } = await import("./on-machine.ts");
    const program = join(import.meta.dirname, "../../dist/cfsboot.mjs");
    const args = [program, "upgrade", "--progress-fd", "3", ...optionsOf(machine)];
    const { status, output } = spawnSync(process.execPath, args, {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "pipe", "pipe"],
    });
    expect(status).toBe(0);
    const events = output[3]!
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as { type: string });
    expect(events[0]).toEqual({ type: "Start", version: expect.stringMatching(/^\d+\.\d+\.\d+$/) });
    expect(new Set(events.map(({ type }) => type))).toEqual(
      new Set(["Start", "ProgressBytes", "ProgressSteps"]),
    );
    expect(events.findLast(({ type }) => type === "ProgressBytes")).toMatchObject({
      task: "pulling",
      steps: 1,
      stepsTotal: 1,
    });
    expect(events.at(-1)).toMatchObject({ task: "staging", steps: 2, stepsTotal: 2 });
  });
});

describe("switch", () => {
  test("stages another image, which later upgrades follow", async () => {
    using machine = await installed();
    const other = join(machine.path, "other");
    mkdirSync(other);
    const layer = { tar: osLayer({ version: "9" }), compression: "gzip" } as const;
    writeLayout(other, [{ image: image([layer]), tag: "x" }]);
    succeed(machine, "switch", "--transport", "oci", `${other}:x`);
    expect(look(machine).spec.image).toEqual({ image: `${other}:x`, transport: "oci" });
    // not what runs is followed now
    expect(succeed(machine, "upgrade")).toContain(
      `No changes in oci:${other}:x: it is staged already\n`,
    );
    expect(succeed(machine, "switch", `oci:${other}:x`)).toContain("already\n");
  });

  test("an image that a deployment has is an error, and with --in-place its new name", async () => {
    using machine = await installed();
    const same = join(machine.path, "same");
    mkdirSync(same);
    const layer = { tar: osLayer({ version: "1" }), compression: "zstd" } as const;
    writeLayout(same, [{ image: image([layer]), tag: "x" }]);
    succeed(machine, "gc");
    const said = fail(machine, "switch", `oci:${same}:x`);
    expect(said).toContain(
      `the booted deployment ${machine.running!.slice(0, 12)} has this image already`,
    );
    expect(said).toContain("hint: cfsboot switch --in-place makes it follow the new reference");
    expect(succeed(machine, "switch", "--in-place", "--dry-run", `oci:${same}:x`)).toMatch(
      /^make it so that 0 /,
    );
    expect(look(machine).spec.image).not.toMatchObject({ image: `${same}:x` });
    expect(succeed(machine, "switch", "--in-place", `oci:${same}:x`)).toContain(
      ` follows oci:${same}:x\n`,
    );
    expect(look(machine).spec.image).toEqual({ image: `${same}:x`, transport: "oci" });
    expect(slots(machine)).toEqual(["booted"]);
    // nothing was fetched: what the repository has is what it was made of
    expect(look(machine)).toMatchObject({
      status: { booted: { image: { architecture: expect.any(String) } } },
      cfsboot: { warnings: [] },
    });
    expect(succeed(machine, "gc")).toBe("Objects: 0 removed (0 bytes)\n");
    expect(succeed(machine, "upgrade")).toContain("it is what runs");
    publish(machine, { version: "7" });
    const published = join(machine.path, "published");
    expect(fail(machine, "switch", "--in-place", `oci:${published}:os`)).toContain(
      "no deployment has this image",
    );
  });

  test("--target-imgref: fetched from one place, followed in another (bootc#2464, bootc#2467)", async () => {
    using machine = await installed();
    const source = publish(machine, { version: "2" });
    succeed(machine, "switch", source, "--target-imgref", "quay.io/example/os:2");
    expect(look(machine).spec.image).toEqual({
      image: "quay.io/example/os:2",
      transport: "registry",
    });
  });

  test("what is no reference is wrong usage", async () => {
    using machine = await installed();
    const { status, stderr } = run(machine, "switch", "UPPER CASE");
    expect({ status, stderr }).toEqual({
      status: 2,
      stderr: expect.stringContaining("image reference"),
    });
  });
});

describe("rollback, pin, delete, gc", () => {
  async function upgraded(): Promise<{ machine: TestMachine; first: string; second: string }> {
    const machine = await installed();
    const first = machine.running!;
    publish(machine, { version: "2" });
    succeed(machine, "upgrade");
    return { machine, first, second: restart(machine) };
  }

  test("rollback goes back, and forth again", async () => {
    const { machine, first, second } = await upgraded();
    using _ = machine;
    expect(succeed(machine, "rollback", "--dry-run")).toBe(
      `write the boot menu: ${first.slice(0, 12)}, ${second.slice(0, 12)}\n`,
    );
    expect(look(machine).status.rollbackQueued).toBe(false);
    expect(succeed(machine, "rollback")).toMatch(/^Next boot: 0 .*\(rollback\)\n$/);
    expect(look(machine)).toMatchObject({
      spec: { bootOrder: "rollback" },
      status: { rollbackQueued: true },
    });
    expect(succeed(machine, "rollback")).toMatch(/^Next boot: .*\(booted\)\n$/);
    expect(look(machine).status.rollbackQueued).toBe(false);
    succeed(machine, "rollback", first.slice(0, 12));
    expect(machine.boot()).toBe(first);
  });

  test("rollback drops what is staged only when it is told to (bootc#1418)", async () => {
    const { machine } = await upgraded();
    using _ = machine;
    publish(machine, { version: "3" });
    succeed(machine, "upgrade");
    expect(fail(machine, "rollback")).toMatch(
      /is staged, and would be lost\nhint: --discard-staged/,
    );
    expect(slots(machine)[0]).toBe("staged");
    succeed(machine, "rollback", "--discard-staged");
    expect(slots(machine)).toEqual(["rollback", "booted"]);
  });

  test("what is staged and has lost its origin is staged again, by an upgrade and by a switch", async () => {
    const { machine, second } = await upgraded();
    using _ = machine;
    const reference = publish(machine, { version: "3" });
    succeed(machine, "upgrade");
    const [third] = look(machine).cfsboot.deployments;
    const origin = machine.state(third!.id, `${third!.id}.origin`);
    rmSync(origin);
    expect(look(machine).spec.image).toMatchObject({ transport: "oci" });
    expect(succeed(machine, "upgrade")).toContain(`Deployment: ${third!.id.slice(0, 12)}`);
    rmSync(origin);
    expect(
      succeed(machine, "switch", reference, "--target-imgref", "registry.example/os:3"),
    ).toContain("Queued for next boot");
    expect(look(machine).cfsboot.deployments[0]).toMatchObject({ id: third!.id, damage: [] });
    expect(restart(machine)).toBe(third!.id);
    expect(look(machine).cfsboot.deployments[1]).toMatchObject({ id: second });
  });

  test("a damaged deployment is not gone back to, but by force", async () => {
    const { machine, first } = await upgraded();
    using _ = machine;
    rmSync(machine.state(first, `${first}.origin`));
    expect(fail(machine, "rollback")).toMatch(
      /would not come up: it has no .*origin\nhint: --force/,
    );
    succeed(machine, "rollback", "--force");
    expect(look(machine).status.rollbackQueued).toBe(true);
  });

  test("there must be something to go back to", async () => {
    using machine = await installed();
    expect(fail(machine, "rollback")).toContain("error: there is no deployment to go back to\n");
    expect(fail(machine, "rollback", "7")).toContain(
      "deployment 7: there is no such deployment; there are 0 ",
    );
  });

  test("delete removes a deployment with all that only it needs", async () => {
    const { machine, first, second } = await upgraded();
    using _ = machine;
    expect(fail(machine, "delete", "booted")).toContain("it is booted");
    expect(succeed(machine, "pin", "rollback", "--dry-run")).toMatch(/^pin the deployment 1 /);
    expect(look(machine).cfsboot.deployments[1]).toMatchObject({ pinned: false });
    succeed(machine, "pin", "rollback");
    expect(fail(machine, "delete", "rollback")).toMatch(/it is pinned\nhint: cfsboot unpin/);
    expect(succeed(machine, "unpin", "1")).toMatch(/^Unpinned: 1 /);
    expect(succeed(machine, "delete", "1", "--dry-run")).toContain(
      `drop the deployment 1 ${first.slice(0, 12)}`,
    );
    expect(slots(machine)).toHaveLength(2);
    const text = succeed(machine, "delete", "1");
    expect(text).toMatch(/^Deleted: [0-9a-f]{12} /);
    expect(text).toContain(
      `\nremove state of ${first.slice(0, 12)}\nuntag localhost/bootc-sha256:`,
    );
    expect(text).toMatch(/Objects: [1-9]\d* removed/);
    expect(machine.names("sysroot/state/deploy")).toEqual([second]);
    expect(slots(machine)).toEqual(["booted"]);
  });

  test("gc removes what interrupted commands have left, and nothing else", async () => {
    const { machine, first, second } = await upgraded();
    using _ = machine;
    mkdirSync(machine.state("ab".repeat(32), "etc"), { recursive: true });
    expect(succeed(machine, "gc", "--dry-run")).toMatch(
      /^remove state of abababababab\nDry run \(no files deleted\):\nObjects: 0 removed/,
    );
    expect(JSON.parse(succeed(machine, "gc", "--dry-run", "--json"))).toMatchObject({
      dryRun: true,
      steps: [{ do: "remove-state", id: "ab".repeat(32) }],
    });
    succeed(machine, "gc");
    expect(machine.names("sysroot/state/deploy")).toEqual([first, second].sort());
    expect(succeed(machine, "gc", "--dry-run")).toMatch(/^Dry run/);
  });

  test("a configuration that cannot be read is told before anything is fetched", async () => {
    using machine = await installed();
    publish(machine, { version: "2" });
    mkdirSync(machine.etc("cfsboot"));
    writeFileSync(machine.etc("cfsboot/cfsboot.toml"), "keep = 1\n");
    const before = machine.names("sysroot/composefs/streams");
    expect(fail(machine, "upgrade")).toContain("cfsboot.toml: keep: expected a number from 2");
    expect(machine.names("sysroot/composefs/streams")).toEqual(before);
  });

  test("a configuration that cannot be read is told of in the next boot, if the update was lost by it", async () => {
    using machine = await installed();
    expect(succeed(machine, "finalize-staged")).toBe("Nothing to do: nothing is staged\n");
    publish(machine, { version: "2" });
    succeed(machine, "upgrade");
    mkdirSync(machine.etc("cfsboot"));
    writeFileSync(machine.etc("cfsboot/cfsboot.toml"), "keep = x\n");
    fail(machine, "finalize-staged");
    machine.boot();
    const trouble = expect.stringContaining("could not be finalized: ");
    expect(JSON.parse(succeed(machine, "status", "--json")).cfsboot.trouble).toMatchObject({
      message: trouble,
    });
    expect(fail(machine, "boot-complete")).toContain("cfsboot.toml, line 1, column 8");
  });

  test("what is pinned after an update was staged is not dropped by it", async () => {
    const { machine, first, second } = await upgraded();
    using _ = machine;
    publish(machine, { version: "3" });
    expect(succeed(machine, "upgrade")).toContain(`Dropped: 2 ${first.slice(0, 12)}`);
    succeed(machine, "pin", "rollback");
    expect(JSON.parse(succeed(machine, "status", "--json")).cfsboot.deployments).toMatchObject([
      { slot: "staged" },
      { slot: "booted" },
      { slot: "rollback", pinned: true, dropped: false },
    ]);
    const third = restart(machine);
    const ids = () => look(machine).cfsboot.deployments.map(({ id }) => id);
    expect(ids()).toEqual([third, second, first]);
    succeed(machine, "gc");
    expect(ids()).toEqual([third, second, first]);
    succeed(machine, "rollback", first.slice(0, 12));
    expect(machine.boot()).toBe(first);
  });

  test("nothing is removed where what runs is not in the boot menu, and status says so", async () => {
    const { machine, second } = await upgraded();
    using _ = machine;
    const boot = join(machine.path, "esp/loader");
    renameSync(join(boot, "entries"), join(boot, "lost"));
    const everything = () => [
      machine.names("esp/EFI/Linux"),
      machine.names("sysroot/state/deploy"),
      machine.names("sysroot/composefs/images"),
    ];
    const before = everything();
    for (const args of [["gc"], ["gc", "--dry-run"]]) {
      expect(fail(machine, ...args)).toContain(
        `what runs, ${second.slice(0, 12)}, is not in the boot menu: nothing is removed`,
      );
    }
    publish(machine, { version: "3" });
    fail(machine, "upgrade");
    expect(everything()).toEqual(before);
    expect(JSON.parse(succeed(machine, "status", "--json"))).toMatchObject({
      status: { booted: { composefs: { verity: second } } },
      cfsboot: { warnings: [expect.stringMatching(/^What runs is not in the boot menu: /)] },
    });
    expect(succeed(machine, "status", "--format", "humanreadable")).toMatch(
      /^● Booted composefs\n/,
    );
  });

  test("gc --dry-run counts the objects of what would be untagged", async () => {
    const { machine } = await upgraded();
    using _ = machine;
    publish(machine, { version: "lost" });
    succeed(machine, "upgrade");
    rmSync(join(machine.path, "run/staged-deployment")); // as after a boot
    const counts = /Objects: [1-9].*\nPruned .*/;
    const [foretold] = counts.exec(succeed(machine, "gc", "--dry-run")) ?? [];
    expect(foretold).toBeDefined();
    expect(counts.exec(succeed(machine, "gc"))?.[0]).toBe(foretold);
  });
});

describe("karg", () => {
  const kargs = (machine: TestMachine, ...args: string[]) =>
    JSON.parse(succeed(machine, "karg", "list", "--json", ...args)) as {
      image: string[];
      local: string[];
      other: string[];
      deleted: string[];
    };

  test("is for the next boot, carried on by upgrades, and gone back with a rollback (bootc#2161, dakota#362, secureblue#2345, secureblue#2538)", async () => {
    using machine = await installed();
    const first = machine.running!;
    publish(machine, { version: "2", kargs: ["image.two"] });
    succeed(machine, "upgrade");
    restart(machine);
    succeed(machine, "karg", "add", "local=1", "quiet");
    expect(kargs(machine)).toMatchObject({ image: ["image.two"], local: ["local=1", "quiet"] });
    publish(machine, { version: "3", kargs: ["image.three", "quiet"] });
    succeed(machine, "upgrade");
    restart(machine);
    publish(machine, { version: "4", kargs: ["image.three"] }); // takes its own quiet away
    succeed(machine, "upgrade");
    const fourth = restart(machine);
    expect(kargs(machine)).toEqual({
      deployment: fourth,
      image: ["image.three"],
      local: ["local=1", "quiet"],
      other: ["root=UUID=1234", "rw", `composefs=?${fourth}`],
      deleted: [],
    });
    succeed(machine, "karg", "delete", "local");
    expect(kargs(machine).local).toEqual(["quiet"]);
    expect(kargs(machine, "rollback").local).toEqual(["local=1", "quiet"]);
    expect(machine.names("esp/loader/entries").join()).not.toContain(first);
  });

  test("reaches what is staged, and nothing else", async () => {
    using machine = await installed();
    publish(machine, { version: "2" });
    succeed(machine, "upgrade");
    const before = machine.read("esp/loader/entries/bootc_debian-1-0.conf");
    expect(succeed(machine, "karg", "replace", "root=UUID=9", "--dry-run")).toMatch(
      /^0 .*root=UUID=9 rw /,
    );
    expect(kargs(machine).other).toContain("root=UUID=1234");
    succeed(machine, "karg", "replace", "root=UUID=9");
    expect(kargs(machine)).toMatchObject({ local: ["root=UUID=9"], deleted: ["root"] });
    expect(machine.read("esp/loader/entries/bootc_debian-1-0.conf")).toBe(before);
    restart(machine);
    expect(succeed(machine, "karg", "list")).toMatch(/^local {4}root=UUID=9\n/);
    expect(kargs(machine, "rollback").other).toContain("root=UUID=1234");
  });

  test("reaches what was only downloaded as well as what is booted until then", async () => {
    using machine = await installed();
    publish(machine, { version: "2" });
    succeed(machine, "upgrade", "--download-only");
    succeed(machine, "karg", "add", "x=1");
    expect([kargs(machine, "staged").local, kargs(machine, "booted").local]).toEqual([
      ["x=1"],
      ["x=1"],
    ]);
    succeed(machine, "upgrade", "--from-downloaded");
    restart(machine);
    expect([kargs(machine).local, kargs(machine, "rollback").local]).toEqual([["x=1"], ["x=1"]]);
  });

  test("what cannot be is an error", async () => {
    using machine = await installed();
    expect(fail(machine, "karg", "delete", "nothing")).toContain("nothing: it is not there");
    expect(fail(machine, "karg", "add", "composefs=x")).toContain("decides which image is booted");
    expect(run(machine, "karg", "add", 'x="y')).toMatchObject({ status: 2 });
    expect(succeed(machine, "karg", "add", "rw")).toContain("(as they were)");
  });
});

describe("edit", () => {
  /** Runs the command with an editor that replaces something. */
  function edit(machine: TestMachine, sed: string, ...args: string[]) {
    const before = process.env.EDITOR;
    process.env.EDITOR = `sed -i '${sed}'`;
    try {
      return run(machine, "edit", ...args);
    } finally {
      process.env.EDITOR = before;
    }
  }

  test("what is not changed does nothing; another image is staged; the boot order goes back", async () => {
    using machine = await installed();
    expect(edit(machine, "s/x/x/")).toEqual({
      status: 0,
      stdout: "Edit cancelled, no changes made.\n",
      stderr: "",
    });
    const next = publish(machine, { version: "2" });
    renameSync(join(machine.path, "published"), join(machine.path, "other"));
    const { status, stdout } = edit(machine, "s/published:os/other:os/");
    expect({ status, stdout }).toEqual({
      status: 0,
      stdout: expect.stringMatching(/^Queued for next boot: oci:.*\/other:os\n/),
    });
    expect(next).not.toContain("other");
    restart(machine);
    expect(edit(machine, "s/bootOrder: default/bootOrder: rollback/").stdout).toMatch(
      /^Next boot: 0 /,
    );
    expect(look(machine).spec.bootOrder).toBe("rollback");
    expect(edit(machine, "s/bootOrder: rollback/bootOrder: default/").stdout).toMatch(
      /^Next boot: /,
    );
    expect(look(machine).spec.bootOrder).toBe("default");
  });

  test("two changes at once, and nonsense, are errors and change nothing", async () => {
    using machine = await installed();
    expect(edit(machine, "s/:os/:x/; s/bootOrder: default/bootOrder: rollback/").stderr).toContain(
      "invalid state transition",
    );
    const { stderr } = edit(machine, "s/bootOrder: .*/bootOrder: never/");
    const kept = /(\/\S+host\.yaml): spec\.bootOrder: expected default or rollback/.exec(
      stderr,
    )?.[1];
    expect(kept, stderr).toBeDefined();
    expect(readFileSync(kept!, "utf8")).toContain("bootOrder: never");
    rmSync(dirname(kept!), { recursive: true });
    const file = join(machine.path, "host.yaml");
    writeFileSync(file, "spec:\n  image:\n    image: x\n    transport: pigeon\n");
    expect(fail(machine, "edit", "-f", file)).toContain(
      "host.yaml: spec.image.transport: expected one of registry",
    );
    expect(slots(machine)).toEqual(["booted"]);
  });
});
