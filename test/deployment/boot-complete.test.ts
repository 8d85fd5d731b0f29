/** New deployments are counted until they have come up, by systemd-boot and by GRUB. */
import { spawnSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { beforeEach, describe, expect, test } from "vitest";
import { GRUB_COUNTING } from "../../src/formats/grub-config.ts";
import {
  grubEnvValue,
  newGrubEnv,
  parseGrubEnv,
  serializeGrubEnv,
  setGrubEnv,
} from "../../src/formats/grubenv.ts";
import { findDeployment } from "../../src/model/deployments.ts";
import { planDelete, planRollback } from "../../src/model/menu-plan.ts";
import { updateTrouble } from "../../src/model/update-outcome.ts";
import { bless, blessSteps } from "../../userspace/deployment/bless.ts";
import { changeMenu } from "../../userspace/deployment/change.ts";
import { readUpdateRecord } from "../../userspace/deployment/outcome.ts";
import { removeUnfinished } from "../../userspace/deployment/unfinished.ts";
import { linux } from "../../userspace/linux.ts";
import { TestMachine } from "./machine.ts";

beforeEach((ctx) => {
  if (linux.geteuid() !== 0) ctx.skip("not root: the owners in /etc cannot be made");
});

const MENU = "esp/loader/entries";
const GRUBENV = "esp/grub/grubenv";

/** What `cfsboot boot-complete` does once the machine has come up. Returns whether there was something to do. */
function comeUp(machine: TestMachine): boolean {
  return machine.with((host, repository) => {
    const counted = blessSteps(host).length > 0;
    if (counted) bless(host, repository);
    expect(blessSteps(host)).toEqual([]);
    return counted;
  });
}

function trouble(machine: TestMachine): string | undefined {
  return machine.with(
    (host, _repository, seen) => updateTrouble(readUpdateRecord(host), seen, host.bootId)?.message,
  );
}

/** A machine that runs one image, and has another one finalized. */
async function updated(
  machine: TestMachine,
  counted = true,
): Promise<{ first: string; second: string }> {
  const first = await machine.stage({ version: "13" }, { counted: false });
  machine.boot();
  comeUp(machine);
  const second = await machine.stage({ version: "14" }, { counted });
  machine.shutDown();
  return { first, second };
}

describe("systemd-boot", () => {
  /** The boot loader notes an attempt. */
  function attempt(machine: TestMachine, from: string, to: string): void {
    renameSync(join(machine.path, MENU, from), join(machine.path, MENU, to));
  }

  test("a deployment that came up is counted no longer (bootc#1981)", async () => {
    using machine = new TestMachine();
    const { second } = await updated(machine);
    attempt(machine, "bootc_debian-14-1+3.conf", "bootc_debian-14-1+2-1.conf");
    expect(machine.boot()).toBe(second);
    expect(comeUp(machine)).toBe(true);
    expect(machine.names(MENU)).toEqual(["bootc_debian-14-0.conf", "bootc_debian-14-1.conf"]);
    expect(comeUp(machine)).toBe(false);
    expect(trouble(machine)).toBeUndefined();
  });

  test("one that was come to by a soft reboot is counted until the boot loader has tried it", async () => {
    using machine = new TestMachine();
    const { first, second } = await updated(machine);
    expect(machine.boot()).toBe(second);
    machine.with((host, repository) => {
      const softly = { ...host, cmdline: `rw composefs=?${first}` };
      expect(blessSteps(softly)).toEqual([]);
      bless(softly, repository);
    });
    expect(machine.names(MENU)).toEqual(["bootc_debian-14-0.conf", "bootc_debian-14-1+3.conf"]);
    machine.with((host) => {
      expect(blessSteps({ ...host, cmdline: `rw composefs=?${second}` })).toHaveLength(1);
    });
  });

  test("one that did not is left, and stays as it is when the one before it comes up", async () => {
    using machine = new TestMachine();
    const { first } = await updated(machine);
    attempt(machine, "bootc_debian-14-1+3.conf", "bootc_debian-14-1+0-3.conf");
    expect(machine.boot()).toBe(first);
    expect(comeUp(machine)).toBe(false);
    expect(machine.names(MENU)).toContain("bootc_debian-14-1+0-3.conf");
    expect(trouble(machine)).toMatch(/^the update to \w+ did not come up, tried 3 times$/);
  });
});

describe("GRUB", () => {
  function grub(): TestMachine {
    const machine = new TestMachine("grub");
    mkdirSync(join(machine.path, "esp/grub"));
    const env = setGrubEnv(newGrubEnv(), "saved_entry", "theirs");
    writeFileSync(join(machine.path, GRUBENV), serializeGrubEnv(env));
    return machine;
  }

  function variables(machine: TestMachine) {
    const env = parseGrubEnv(readFileSync(join(machine.path, GRUBENV)), GRUBENV);
    const value = (name: string) => grubEnvValue(env, name);
    expect(value("saved_entry")).toBe("theirs");
    return {
      counter: value("boot_counter"),
      success: value("boot_success"),
      counted: value("cfsboot_counted"),
    };
  }

  /** Runs what GRUB runs before it chooses; returns the number of the entry. */
  function choose(machine: TestMachine): number {
    const file = join(machine.path, GRUBENV);
    const env = parseGrubEnv(readFileSync(file), GRUBENV);
    const script = machine.read(`${MENU}/cfsboot.cfg`);
    const first = /^set cfsboot_first='(.*)'$/m.exec(script)?.[1] ?? "";
    const prelude = `set() { declare -g "$1"; }\nsave_env() { echo "saved=$boot_counter"; }\ndefault=0\n`;
    const { stdout, stderr } = spawnSync("bash", ["-s"], {
      input: `${prelude}${GRUB_COUNTING}\necho "default=$default"\n`,
      encoding: "utf8",
      env: {
        PATH: process.env.PATH,
        cfsboot_first: first,
        ...Object.fromEntries(
          env.lines.flatMap(({ name, value }) => (name === undefined ? [] : [[name, value]])),
        ),
      },
    });
    expect(stderr).toBe("");
    const saved = /^saved=(.*)$/m.exec(stdout)?.[1];
    if (saved !== undefined) {
      writeFileSync(file, serializeGrubEnv(setGrubEnv(env, "boot_counter", saved)));
    }
    return Number(/^default=(.*)$/m.exec(stdout)?.[1]);
  }

  /** Which deployments the script of the menu has, in its order. */
  function inScript(machine: TestMachine): string[] {
    const script = machine.read(`${MENU}/cfsboot.cfg`);
    return [...script.matchAll(/composefs=\??(\w+)/g)].map(([, id]) => id!);
  }

  test("a new deployment is counted once it is the first of the menu, and no longer when it came up", async () => {
    using machine = grub();
    const { first, second } = await updated(machine);
    expect(machine.names(MENU)).toEqual([
      "bootc_debian-14-0.conf",
      "bootc_debian-14-1.conf",
      "cfsboot.cfg",
    ]);
    expect(variables(machine)).toEqual({ counter: "3", success: "0", counted: second });
    expect(inScript(machine)).toEqual([second, first]);
    expect(choose(machine)).toBe(0);
    machine.with((_host, _repository, { deployments }) =>
      expect(deployments[0]).toMatchObject({ id: second, entry: { tries: { left: 2, done: 1 } } }),
    );
    expect(machine.boot()).toBe(second);
    expect(comeUp(machine)).toBe(true);
    expect(variables(machine)).toEqual({ counter: undefined, success: "1", counted: undefined });
    expect(choose(machine)).toBe(0);
    expect(comeUp(machine)).toBe(false);
  });

  test("grub-editenv reads what was written", async (ctx) => {
    using machine = grub();
    const { second } = await updated(machine);
    const { error, stdout } = spawnSync("grub-editenv", [join(machine.path, GRUBENV), "list"], {
      encoding: "utf8",
    });
    if (error !== undefined) ctx.skip("there is no grub-editenv");
    expect(stdout.trim().split("\n")).toEqual(
      expect.arrayContaining(["boot_counter=3", "boot_success=0", `cfsboot_counted=${second}`]),
    );
  });

  test("one that did not come up three times is left, told, and left for good (bootc#1981)", async () => {
    using machine = grub();
    const { first, second } = await updated(machine);
    expect([1, 2, 3, 4].map(() => choose(machine))).toEqual([0, 0, 0, 1]);
    expect(machine.boot()).toBe(first);
    machine.with((_host, _repository, seen) => {
      expect(seen).toMatchObject({ booted: { id: first }, rollbackQueued: false });
      expect(findDeployment(seen, second).damage).toEqual([
        "it was tried 3 times and did not come up",
      ]);
    });
    expect(trouble(machine)).toMatch(/did not come up, tried 3 times$/);
    expect(comeUp(machine)).toBe(true);
    expect(inScript(machine)).toEqual([first, second]);
    expect(variables(machine)).toEqual({ counter: undefined, success: "1", counted: second });
    expect(trouble(machine)).toMatch(/did not come up, tried 3 times$/);
    expect(choose(machine)).toBe(0);
    expect(machine.boot()).toBe(first);
    expect(comeUp(machine)).toBe(false);
  });

  test("what failed can be deleted, or tried once more; the next update is counted anew", async () => {
    using machine = grub();
    const { second } = await updated(machine);
    for (let i = 0; i < 4; i++) choose(machine);
    machine.boot();
    machine.with((host, _repository, seen) =>
      changeMenu(host, seen, planRollback(seen, findDeployment(seen, second), false)),
    );
    expect(inScript(machine)[0]).toBe(second);
    expect(variables(machine)).toMatchObject({ counter: undefined, counted: undefined });
    machine.with((host, _repository, seen) =>
      changeMenu(host, seen, planDelete(seen, findDeployment(seen, second))),
    );
    const third = await machine.stage({ version: "15" });
    machine.shutDown();
    expect(variables(machine)).toEqual({ counter: "3", success: "0", counted: third });
  });

  test("an entry that was chosen by hand was no attempt of the first", async () => {
    using machine = grub();
    const { first, second } = await updated(machine);
    for (let i = 0; i < 3; i++) choose(machine);
    machine.with((host, repository) => {
      const other = { ...host, running: { id: first, insecure: true } };
      expect(blessSteps(other)).not.toEqual([]);
      bless(other, repository);
    });
    expect(variables(machine)).toEqual({ counter: "1", success: "0", counted: second });
  });

  test("what is not to be counted is not, whatever was counted before", async () => {
    using machine = grub();
    await updated(machine);
    machine.boot();
    await machine.stage({ version: "15" }, { counted: false });
    machine.shutDown();
    expect(variables(machine)).toMatchObject({ counter: undefined, counted: undefined });
    expect(choose(machine)).toBe(0);
  });

  test("what a power failure has left of writing the variables goes with the next update, and by gc", async () => {
    using machine = grub();
    await updated(machine);
    const left = join(machine.path, `${GRUBENV}.cfsboot-tmp`);
    writeFileSync(left, "half\n");
    await machine.stage({ version: "15" });
    expect(existsSync(left)).toBe(false);
    writeFileSync(left, "half\n");
    machine.with((host) => removeUnfinished(host));
    expect(existsSync(left)).toBe(false);
    expect(machine.read(GRUBENV)).toMatch("# GRUB Environment Block");
  });

  test.for(["damaged", "a symlink", "no GRUB"])(
    "nothing is counted, and nothing fails: %s",
    async (what) => {
      using machine = new TestMachine("grub");
      if (what !== "no GRUB") mkdirSync(join(machine.path, "esp/grub"));
      if (what === "damaged") writeFileSync(join(machine.path, GRUBENV), "theirs\n");
      if (what === "a symlink") symlinkSync("../efi/grubenv", join(machine.path, GRUBENV));
      const first = await machine.stage({ version: "13" }, { counted: false });
      expect(machine.boot()).toBe(first);
      const second = await machine.stage({ version: "14" });
      expect(machine.shutDown()).toMatchObject({ done: true });
      expect(machine.boot()).toBe(second);
      if (what === "damaged") expect(machine.read(GRUBENV)).toBe("theirs\n");
    },
  );
});
