/**
 * `npm run demo`: a machine is installed from a container image, updates itself, comes back from an update that does not
 * boot, and refuses a byte that was changed on its disk.
 * `npm run demo -- --shell` installs it and leaves you on its console.
 */
import { execFileSync } from "node:child_process";
import { statSync } from "node:fs";
import { join, relative } from "node:path";
import { ensurePackages } from "../scripts/packages.mjs";
import { objectPath, toHex } from "../src/formats/digest.ts";
import { digestBytes } from "../userspace/hash.ts";
import { PROJECT } from "./harness/cache.ts";
import { partitionNamed } from "./harness/disk-partitions.ts";
import { flipBit } from "./harness/ext4.ts";
import type { Checks } from "./harness/guest.ts";
import { FOLLOWED } from "./harness/install.ts";
import type { LivingMachine } from "./harness/life.ts";
import { newMachine } from "./harness/machine.ts";
import { answer } from "./harness/observations.ts";
import { type Booted, bootShell, LOGS, plain } from "./harness/qemu.ts";

const args = process.argv.slice(2);
const shell = args.includes("--shell");
if (args.some((arg) => arg !== "--shell")) {
  console.error("usage: npm run demo [-- --shell]");
  process.exit(2);
}

const colours = process.stdout.isTTY && process.env.NO_COLOR === undefined;
const style = (code: number, text: string) => (colours ? `\x1b[${code}m${text}\x1b[0m` : text);
const bold = (text: string) => style(1, text);
const dim = (text: string) => style(2, text);
const red = (text: string) => style(31, text);
const print = (text = "") => console.log(text);
const shown = (path: string) => relative(process.cwd(), path) || ".";
const seconds = (since: number) => `${((Date.now() - since) / 1000).toFixed(1)} s`;
const say = (line: string) => print(`   ${line}`);
const brief = (line: string) => line.replace(/\b([0-9a-f]{12})[0-9a-f]{52,}\b/g, "$1…");

let steps = 0;

/** A step with a heading and, when it is done, the time that it took. */
async function step<T>(title: string, work: () => T | Promise<T>): Promise<T> {
  const started = Date.now();
  print(`\n${bold(`${++steps}. ${title}`)}`);
  const result = await work();
  print(dim(`   ${seconds(started)}`));
  return result;
}

/** What the console says that is of interest here: the time and the words. */
const WORTH_SEEING =
  /^\[ *([\d.]+)\] (composefs-setup-root\[\d+\]: (?:image|fs-verity|measured): .*|fs-verity .*FILE CORRUPTED|Kernel panic.*)/;

/** Boots, and shows what the console says, then the commands' output. `before` is run before them, and not shown. */
async function show(
  machine: LivingMachine,
  commands?: Checks,
  before: Checks = {},
): Promise<Booted> {
  const said = new Set<string>();
  const booted = await machine.boot(commands && { ...before, ...commands }, (line) => {
    const [, time, text] = WORTH_SEEING.exec(line) ?? [];
    if (text === undefined || said.has(text)) return;
    said.add(text);
    const ours = /^(composefs-setup-root)\[\d+\](.*)/.exec(brief(text));
    say(`[${Number(time).toFixed(1)} s] ${ours ? `${ours[1]}${ours[2]}` : red(`kernel: ${text}`)}`);
  });
  for (const name of Object.keys(before))
    if (booted.answers[name]?.status !== 0) throw new Error(`${name}: ${answer(booted, name)}`);
  for (const name of Object.keys(commands ?? {})) {
    print(`   ${bold(`# ${name}`)}`);
    for (const line of answer(booted, name).split("\n")) print(`   ${brief(line)}`);
  }
  return booted;
}

/** Commands by what is shown of them. */
const commands = (...list: string[]): Checks =>
  // as on a terminal, where the answers do not go to
  Object.fromEntries(list.map((c) => [c, c === STATUS ? `${c} --format humanreadable` : c]));

function expect(booted: Booted, command: string, wanted: RegExp): void {
  if (!wanted.test(answer(booted, command)))
    throw new Error(`unexpected answer to ${command}; the console is in ${shown(booted.log)}`);
}

/** The digest's place in the repository, of a file that has this content. */
const objectOf = (content: string) =>
  join("/composefs/objects", objectPath(toHex(digestBytes("sha512", Buffer.from(content)))));

const RELEASE = "cat /usr/share/release";
const EDIT = "echo a note of mine > /etc/motd";
const NOTE = "cat /etc/motd";
const STATUS = "cfsboot status";
const UPGRADE = "cfsboot upgrade";
const release = (number: string) => ({
  path: "usr/share/release",
  // longer than what is kept in the image of the file tree itself
  data: `release ${number} of the machine's image, from a container registry: every byte of it is verified\n`,
});

async function main(): Promise<void> {
  const started = Date.now();
  print(
    bold("cfsboot: Linux from a container image, every byte that is read checked by the kernel"),
  );

  await step("The tools", () => {
    ensurePackages(["build", "vm"], say);
    say("all Debian packages are there");
  });

  await step("Build cfsboot", () => {
    execFileSync(process.execPath, ["build.mjs"], {
      cwd: PROJECT,
      stdio: ["ignore", "pipe", "inherit"],
    });
    for (const name of ["cfsboot.mjs", "composefs-setup-root"]) {
      const path = join(PROJECT, "dist", name);
      say(`${shown(path)}  ${Math.round(statSync(path).size / 1024)} KB`);
    }
  });

  await using machine = await step(
    "Install a container image of Debian 13 to a disk, with UEFI and systemd-boot",
    () => newMachine("demo", { loader: "systemd" }, say),
  );
  const { hardware } = machine;

  if (shell) {
    await step("Boot it; exit powers it off, Ctrl-A X pulls the plug", () => bootShell(hardware));
    return;
  }

  machine.publish("2", [release("2")]);
  const first = await step(
    `Boot it, change /etc, and fetch the release 2 that ${FOLLOWED} has by now`,
    () =>
      show(
        machine,
        commands(EDIT, "findmnt -no SOURCE,FSTYPE,OPTIONS /", UPGRADE, STATUS),
        machine.beginning,
      ),
  );
  expect(first, STATUS, /staged/i);

  machine.publish("3", [
    release("3"),
    { path: "usr/lib/bootc/" },
    { path: "usr/lib/bootc/kargs.d/" },
    { path: "usr/lib/bootc/kargs.d/broken.toml", data: 'kargs = ["rdinit=/no-such-program"]\n' },
  ]);
  const second = await step("Boot into release 2; release 3 is broken on purpose: fetch it", () =>
    show(machine, commands("findmnt -no OPTIONS /", RELEASE, NOTE, UPGRADE)),
  );
  expect(second, "findmnt -no OPTIONS /", /verity=require/);
  expect(second, RELEASE, /release 2/);
  expect(second, NOTE, /a note of mine/);

  await step("Release 3 panics, three times", async () => {
    for (let tries = 0; tries < 3; tries++) {
      const { console, log } = await show(machine);
      if (!/Kernel panic/.test(plain(console)))
        throw new Error(`the broken release came up; the console is in ${shown(log)}`);
    }
  });

  const back = await step("The machine comes back by itself", () =>
    show(machine, commands(RELEASE, NOTE, STATUS)),
  );
  expect(back, RELEASE, /release 2/);
  expect(back, STATUS, /did not come up/);

  const refused = await step("Flip one bit of that file on the disk, boot again", async () => {
    const object = objectOf(`${answer(back, RELEASE)}\n`);
    flipBit(hardware.disk, object, 14, partitionNamed(hardware.disk, "root").start);
    say(`/usr/share/release is ${brief(object)}: bit 0 of byte 14`);
    return await show(machine, commands(RELEASE, "cat /etc/debian_version"));
  });
  expect(refused, RELEASE, /Input\/output error/);
  if (!/FILE CORRUPTED/.test(refused.console)) throw new Error("the kernel did not say why");

  print(
    `\n${bold("Updated, come back, and not fooled: the kernel refused the changed file and served the rest.")} ${seconds(started)}`,
  );
  print(dim(`Consoles: ${shown(LOGS)}/demo-*.log`));
  print(dim("A shell in it: npm run demo -- --shell"));
}

try {
  await main();
} catch (error) {
  const messages: string[] = [];
  for (let e: unknown = error; e instanceof Error; e = e.cause) messages.push(e.message);
  console.error(`\ndemo: error: ${messages.join(": ")}`);
  process.exitCode = 1;
}
