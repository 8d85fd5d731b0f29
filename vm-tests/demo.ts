/**
 * `npm run demo`: a Debian system from a container image boots with every byte verified, then refuses a changed one.
 * `npm run demo -- --shell` boots it and leaves you on its console.
 */
import { execFileSync } from "node:child_process";
import { copyFileSync, mkdtempSync, readdirSync, rmSync, statSync } from "node:fs";
import { join, relative } from "node:path";
import { ensurePackages } from "../scripts/packages.mjs";
import { CACHE, PROJECT } from "./harness/cache.ts";
import { flipBit } from "./harness/ext4.ts";
import type { Checks } from "./harness/guest.ts";
import { answer } from "./harness/observations.ts";
import { type Booted, boot, bootShell } from "./harness/qemu.ts";
import { type Deployment, deployment, disk, ociImage } from "./harness/systems.ts";

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
const print = (text = "") => console.log(text);
const shown = (path: string) => relative(process.cwd(), path) || ".";
const seconds = (since: number) => `${((Date.now() - since) / 1000).toFixed(1)} s`;

let steps = 0;

/** A step with a heading and, when it is done, the time that it took. */
async function step<T>(title: string, work: () => T | Promise<T>): Promise<T> {
  const started = Date.now();
  print(`\n${bold(`${++steps}. ${title}`)}`);
  const result = await work();
  print(dim(`   ${seconds(started)}`));
  return result;
}

const say = (line: string) => print(`   ${line}`);

const FILE = "/usr/lib/os-release";

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

  await step("A container image: Debian 13 with Linux, systemd and our initramfs", async () => {
    const { layout, tag } = await ociImage("trixie", say);
    say(`oci:${shown(layout)}:${tag}`);
  });

  const debian = await step("Pull it into a composefs repository", async () => {
    const result = await deployment("trixie", "sha512", say);
    say(`${count(join(result.repository, "objects"))} objects in ${shown(result.repository)}`);
    say(`image digest ${result.digest}`);
    return result;
  });

  const image = await step("Put the repository on an ext4 disk, with fs-verity", async () => {
    const result = await disk(debian, { sealed: true }, say);
    say(shown(result));
    return result;
  });

  if (shell) {
    await step("Boot it; exit powers it off, Ctrl-A X pulls the plug", () =>
      bootShell({ ...machine(debian, "demo-shell"), disk: image }),
    );
    return;
  }

  const first = await step("Boot it, fs-verity required", () =>
    show(
      debian,
      image,
      "demo",
      {
        "findmnt /": "findmnt /",
        "cat /etc/os-release": "cat /etc/os-release",
        "fsverity measure <the image>": `fsverity measure /sysroot/composefs/images/${debian.digest} | cut -d ' ' -f 1`,
        "touch /usr/bin/new": "touch /usr/bin/new",
      },
      true,
    ),
  );
  expect(first, "cat /etc/os-release", /Debian GNU\/Linux 13/);
  expect(first, "findmnt /", /verity=require/);

  const second = await step("Flip one bit of one object on the disk, boot again", async () => {
    const directory = mkdtempSync(join(CACHE, "demo-"));
    try {
      const changed = join(directory, "disk");
      copyFileSync(image, changed);
      const object = debian.files.object(FILE);
      flipBit(changed, join("/composefs", object), 14);
      say(`${FILE} is composefs/${object.slice(0, 40)}…: bit 0 of byte 14`);
      return await show(
        debian,
        changed,
        "demo-tampered",
        {
          "cat /etc/os-release": "cat /etc/os-release",
          "bash --version": "bash --version | head -1",
        },
        false,
      );
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  });
  expect(second, "cat /etc/os-release", /Input\/output error/);
  if (!/FILE CORRUPTED/.test(second.console)) throw new Error("the kernel did not say why");

  print(
    `\n${bold("The kernel refused the changed file and served the rest.")} ${seconds(started)}`,
  );
  print(dim(`Consoles: ${shown(first.log)}, ${shown(second.log)}`));
  print(dim("A shell in it: npm run demo -- --shell"));
}

function machine(from: Deployment, name: string) {
  return {
    name,
    kernel: from.kernel,
    initramfs: from.initramfs,
    append: [`composefs=${from.digest}`],
    cpus: 2,
  };
}

/**
 * Boots and shows: what composefs-setup-root (`verbose`: all of it) and fs-verity say on the console, then the commands'
 * output.
 */
async function show(
  from: Deployment,
  image: string,
  name: string,
  commands: Checks,
  verbose: boolean,
): Promise<Booted> {
  // shown in full where it is made and where it is measured; elsewhere it would only fill the screen
  const brief = (line: string) =>
    line.replaceAll(from.digest, `${from.digest.slice(0, 12)}…`).replace(/ {3,}/g, "  ");
  say(dim(brief(`kernel command line: … composefs=${from.digest}`)));
  const corrupted = new Set<string>();
  const booted = await boot({
    ...machine(from, name),
    disk: image,
    checks: commands,
    target: "multi-user",
    onConsole: (line) => {
      const ours = line.match(/^\[ *([\d.]+)\] composefs-setup-root\[\d+\]: (.*)/);
      if (ours?.[2] !== undefined && (verbose || ours[2].includes("measured"))) {
        const text = ours[2].includes("measured") ? ours[2] : brief(ours[2]);
        say(`[${Number(ours[1]).toFixed(1)} s] composefs-setup-root: ${text}`);
      }
      const refused = line.match(/^\[ *([\d.]+)\] (fs-verity \(.*?, inode \d+\): FILE CORRUPTED)/);
      if (refused?.[2] !== undefined && !corrupted.has(refused[2])) {
        corrupted.add(refused[2]);
        say(style(31, `[${Number(refused[1]).toFixed(1)} s] kernel: ${refused[2]}`));
      }
      if (/Reached target .*multi-user\.target/.test(line))
        say("systemd: reached multi-user.target");
    },
  });
  for (const command of Object.keys(commands)) {
    print(`   ${bold(`# ${command}`)}`);
    for (const line of answer(booted, command).split("\n"))
      print(`   ${command.startsWith("findmnt") ? brief(line) : line}`);
  }
  return booted;
}

function expect(booted: Booted, command: string, wanted: RegExp): void {
  if (!wanted.test(answer(booted, command)))
    throw new Error(`unexpected answer to ${command}; the console is in ${shown(booted.log)}`);
}

function count(directory: string): number {
  return readdirSync(directory, { recursive: true, withFileTypes: true }).filter((e) => e.isFile())
    .length;
}

try {
  await main();
} catch (error) {
  const messages: string[] = [];
  for (let e: unknown = error; e instanceof Error; e = e.cause) messages.push(e.message);
  console.error(`\ndemo: error: ${messages.join(": ")}`);
  process.exitCode = 1;
}
