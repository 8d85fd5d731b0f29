/**
 * Virtual machines in QEMU: booted directly into a kernel, or by UEFI firmware from their disk; watched on the serial console
 * until they power off.
 */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import {
  accessSync,
  appendFileSync,
  closeSync,
  constants,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { CACHE } from "./cache.ts";
import { cpioArchive } from "./cpio.ts";
import {
  type Answer,
  type Checks,
  checkArguments,
  checkCredentials,
  type PowerOff,
  parseReport,
  SHELL_UNIT,
  shellCredentials,
  type Target,
} from "./guest.ts";

export interface Hardware {
  /** For the log's name and for messages. */
  readonly name: string;
  /** A raw disk image: `/dev/vda`. */
  readonly disk: string;
  /** Whether what the guest writes stays on the disk. Without it all is gone when the machine ends. */
  readonly persistent?: boolean;
  /** A file that gets all that is written to a persistent disk, as it is written (see `write-log.ts`). */
  readonly writeLog?: string;
  /** More raw disk images, for `/dev/vdb` and so on. */
  readonly moreDisks?: readonly string[];
  /** A directory for what a TPM 2 keeps: the machine has one. */
  readonly tpm?: string;
  readonly cpus?: number;
  /** Whether there is a network, 10.0.2.0/24, in which 10.0.2.2 is the loopback of this machine. */
  readonly network?: boolean;
}

/** Booted directly into a kernel. */
export interface Machine extends Hardware {
  readonly kernel: string;
  readonly initramfs: string;
  /** Files that are added to the initramfs, by path, with their text. */
  readonly initramfsFiles?: Readonly<Record<string, string>>;
  /** Kernel arguments besides those for the console and the root disk. */
  readonly append: readonly string[];
}

/** Booted by UEFI firmware, with what is on the disk. */
export interface UefiMachine extends Hardware {
  /** The firmware's variables (see `newVariables`): what is written to them stays. */
  readonly variables: string;
}

interface Watching {
  /** What to ask the booted system. Without them the machine must power itself off. */
  readonly checks?: Checks;
  readonly target?: Target;
  readonly powerOff?: PowerOff;
  /** More credentials of the system (systemd.system-credentials(7)). */
  readonly credentials?: Readonly<Record<string, string>>;
  /** Called with each line of the console while the machine runs. */
  readonly onConsole?: (line: string) => void;
}

export interface Boot extends Machine, Watching {}
export interface UefiBoot extends UefiMachine, Watching {}

export interface Booted {
  /** Everything on the serial console: kernel and systemd. */
  readonly console: string;
  readonly answers: Readonly<Record<string, Answer>>;
  readonly log: string;
  readonly seconds: number;
}

export const LOGS = join(CACHE, "logs");

/** Four times what the slowest boot takes in software emulation, two machines on two processors. */
const TIMEOUT_MS = 300_000;
/** With firmware, and with Node at work in the guest. */
const UEFI_TIMEOUT_MS = 900_000;

/** What a kernel says when it has been hit by something that no test asked for. */
const OOPS =
  /\b(?:Oops: |BUG: |double fault:|general protection fault|stack segment:|invalid opcode:|unable to handle (?:page fault|kernel)|soft lockup)/;

/** Boots a machine and waits until it is off. Throws when it hangs, or when it did not answer the checks. */
export async function boot(options: Boot | UefiBoot): Promise<Booted> {
  const first = await bootOnce(options);
  const oops = first.console.split("\n").find((line) => OOPS.test(line));
  if (oops === undefined || isSpent(options, first)) return judge(options, first);
  // emulation is not free of faults: one is reported and forgiven
  const kept = first.log.replace(/\.log$/, ".oops.log");
  copyFileSync(first.log, kept);
  console.warn(`${options.name}: the guest's kernel failed, trying once more: ${oops} (${kept})`);
  return judge(options, await bootOnce(options));
}

interface Attempt extends Booted {
  readonly complete: boolean;
  readonly timedOut: boolean;
}

/** Whether what a machine has written is in the way of the same once more. */
function isSpent({ persistent, writeLog, checks }: Boot | UefiBoot, attempt: Attempt): boolean {
  const answered = !attempt.timedOut && (checks === undefined || attempt.complete);
  return writeLog !== undefined || (persistent === true && answered);
}

function judge(options: Boot | UefiBoot, attempt: Attempt): Booted {
  const fail = (what: string) => {
    const last = plain(attempt.console).trimEnd().split("\n").slice(-25).join("\n");
    return new Error(`${options.name}: ${what}; console in ${attempt.log}, its end:\n${last}`);
  };
  if (attempt.timedOut) throw fail(`still running after ${Math.round(attempt.seconds)} s`);
  if (options.checks !== undefined && !attempt.complete)
    throw fail("the machine went off without answering");
  return attempt;
}

async function bootOnce(options: Boot | UefiBoot): Promise<Attempt> {
  mkdirSync(LOGS, { recursive: true });
  const log = join(LOGS, `${options.name.replace(/[^a-z0-9]+/gi, "-")}.log`);
  const scratch = mkdtempSync(join(CACHE, "run-"));
  try {
    const { checks, target = "basic", powerOff = "off" } = options;
    const report = join(scratch, "report");
    const command = qemuCommand(options, scratch, {
      // in files: what the guest writes is there also when this process has no time to read
      serial: [`file:${log}`, `file:${report}`],
      append: [
        "rd.shell=0",
        "rd.emergency=poweroff",
        ...(checks === undefined ? [] : checkArguments(target)),
      ],
      credentials: {
        ...options.credentials,
        ...(checks === undefined ? {} : checkCredentials(checks, target, powerOff)),
      },
    });
    if (options.tpm !== undefined) startTpm(options.tpm, scratch);
    writeFileSync(log, "");
    writeFileSync(report, "");
    const started = Date.now();
    const errors = openSync(join(scratch, "stderr"), "w");
    const child = spawn(command[0]!, command.slice(1), { stdio: ["ignore", "ignore", errors] });
    closeSync(errors);
    const follower = options.onConsole && follow(log, options.onConsole);
    const { timedOut, status } = await ended(
      child,
      "variables" in options ? UEFI_TIMEOUT_MS : TIMEOUT_MS,
    );
    follower?.stop();
    const stderr = readFileSync(join(scratch, "stderr"), "utf8").trim();
    if (status !== 0 && !timedOut) throw new Error(`QEMU failed with status ${status}: ${stderr}`);
    const text = readFileSync(report, "latin1");
    const serial = readFileSync(log, "utf8");
    if (text !== "") appendFileSync(log, `\n---- answers\n${text}`);
    return {
      console: serial,
      log,
      seconds: (Date.now() - started) / 1000,
      timedOut,
      ...parseReport(text),
    };
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

/** Calls `onLine` for every line that is appended to a file, until stopped. */
function follow(path: string, onLine: (line: string) => void): { stop: () => void } {
  const fd = openSync(path, "r");
  const buffer = Buffer.alloc(1 << 16);
  let rest = "";
  const look = () => {
    for (let count = 1; count > 0; ) {
      count = readSync(fd, buffer);
      const lines = (rest + buffer.toString("latin1", 0, count)).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) onLine(plain(line));
    }
  };
  const timer = setInterval(look, 200);
  return {
    stop: () => {
      clearInterval(timer);
      look();
      closeSync(fd);
    },
  };
}

function ended(
  child: ChildProcess,
  timeoutMs: number,
): Promise<{ timedOut: boolean; status: number | null }> {
  return new Promise((resolve, reject) => {
    let timedOut = false;
    const timer = setTimeout(() => {
      timedOut = true;
      child.kill("SIGKILL");
    }, timeoutMs);
    const kill = () => child.kill("SIGKILL");
    process.once("exit", kill);
    const finish = () => {
      clearTimeout(timer);
      process.removeListener("exit", kill);
    };
    child.once("error", (cause) => {
      finish();
      reject(new Error("cannot run QEMU", { cause }));
    });
    child.once("exit", (status) => {
      finish();
      resolve({ timedOut, status });
    });
  });
}

/** Runs a machine with its console on this terminal: a root shell, whose end powers the machine off. */
export async function bootShell(machine: Machine | UefiMachine): Promise<void> {
  mkdirSync(CACHE, { recursive: true });
  const scratch = mkdtempSync(join(CACHE, "run-"));
  try {
    const command = qemuCommand(machine, scratch, {
      // Ctrl-C goes to the guest
      serial: ["mon:stdio"],
      append: ["systemd.unit=multi-user.target", `systemd.wants=${SHELL_UNIT}`],
      credentials: shellCredentials(),
    });
    const child = spawn(command[0]!, command.slice(1), { stdio: "inherit" });
    await ended(child, 2 ** 31 - 1);
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

export interface Wiring {
  /** Where the serial ports go, as QEMU's `-serial` wants it. The first is the console. */
  readonly serial: readonly string[];
  readonly append: readonly string[];
  readonly credentials: Readonly<Record<string, string>>;
}

/** The command that runs the machine. Files that it needs are put into `scratch`. */
export function qemuCommand(
  machine: Machine | UefiMachine,
  scratch: string,
  wiring: Wiring,
): string[] {
  return [
    "qemu-system-x86_64",
    ...["-machine", "q35", ...acceleration()],
    ...["-smp", `${machine.cpus ?? 1}`, "-m", "768"],
    ...["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"],
    ...wiring.serial.flatMap((port) => ["-serial", port]),
    ...("variables" in machine
      ? firmwareArguments(machine, wiring)
      : kernelArguments(machine, scratch, wiring)),
    ...diskArguments(machine),
    ...(machine.moreDisks ?? []).flatMap((image, index) => [
      "-drive",
      `file=${image},format=raw,if=none,id=disk${index},snapshot=${machine.persistent ? "off" : "on"}`,
      ...["-device", `virtio-blk-pci,drive=disk${index}`],
    ]),
    ...(machine.tpm === undefined ? [] : tpmArguments(scratch)),
    ...networkArguments(machine),
    ...["-object", "rng-random,id=rng,filename=/dev/urandom", "-device", "virtio-rng-pci,rng=rng"],
    ...Object.entries(wiring.credentials).flatMap(([name, text]) =>
      systemdString(`credential.binary:${name}`, Buffer.from(text).toString("base64")),
    ),
  ];
}

function diskArguments({ disk, persistent, writeLog }: Hardware): string[] {
  if (writeLog === undefined) {
    const snapshot = persistent ? "off" : "on";
    return [
      ...["-drive", `file=${disk},format=raw,if=none,id=root,snapshot=${snapshot}`],
      ...["-device", "virtio-blk-pci,drive=root"],
    ];
  }
  const files = [
    ...["file.driver=file", `file.filename=${disk}`],
    ...["log.driver=file", `log.filename=${writeLog}`],
  ];
  // it can be read at any time how much was written
  const interval = "log-super-update-interval=1";
  return [
    ...["-blockdev", ["driver=blklogwrites", "node-name=root", ...files, interval].join(",")],
    // what it makes of many small requests has no room for what is logged with it, and fails
    ...["-device", "virtio-blk-pci,drive=root,request-merging=off"],
  ];
}

/** What systemd, in the guest or as its boot loader, reads from the firmware. */
function systemdString(name: string, value: string): string[] {
  // a comma would end it
  return ["-smbios", `type=11,value=io.systemd.${name}=${value.replaceAll(",", ",,")}`];
}

/** A TPM in software, which ends with the machine. */
function startTpm(state: string, scratch: string): void {
  mkdirSync(state, { recursive: true });
  const control = `type=unixio,path=${tpmSocket(scratch)}`;
  const how = ["socket", "--tpm2", "--daemon", "--terminate", "--flags", "startup-clear"];
  execFileSync("swtpm", [...how, "--tpmstate", `dir=${state}`, "--ctrl", control]);
}

const tpmSocket = (scratch: string) => join(scratch, "tpm");

function tpmArguments(scratch: string): string[] {
  return [
    ...["-chardev", `socket,id=tpm,path=${tpmSocket(scratch)}`],
    ...["-tpmdev", "emulator,id=tpm0,chardev=tpm", "-device", "tpm-crb,tpmdev=tpm0"],
  ];
}

function networkArguments({ network }: Hardware): string[] {
  if (!network) return [];
  // without a boot ROM
  return ["-netdev", "user,id=net", "-device", "virtio-net-pci,netdev=net,romfile="];
}

const FIRMWARE = "/usr/share/OVMF/OVMF_CODE_4M.fd";
const VARIABLES = "/usr/share/OVMF/OVMF_VARS_4M.fd";

/** Writes a firmware's variables as they are when a machine is new. */
export function newVariables(path: string): void {
  copyFileSync(VARIABLES, path);
}

function firmwareArguments({ variables }: UefiMachine, { append }: Wiring): string[] {
  return [
    ...["-drive", `if=pflash,format=raw,unit=0,readonly=on,file=${FIRMWARE}`],
    ...["-drive", `if=pflash,format=raw,unit=1,file=${variables}`],
    // systemd-boot adds it to what the entry says, the stub of a unified kernel image to what that says
    ...systemdString("boot.kernel-cmdline-extra", append.join(" ")),
    ...systemdString("stub.kernel-cmdline-extra", append.join(" ")),
  ];
}

function kernelArguments(machine: Machine, scratch: string, wiring: Wiring): string[] {
  const append = [
    "console=ttyS0",
    "root=/dev/vda",
    "rootfstype=ext4",
    "rw",
    "panic=1",
    "loglevel=5",
    "systemd.show_status=1",
    "systemd.firstboot=off",
    ...wiring.append,
    ...machine.append,
  ].join(" ");
  let initramfs = machine.initramfs;
  if (machine.initramfsFiles !== undefined) {
    const archive = readFileSync(initramfs);
    const gap = Buffer.alloc((4 - (archive.length % 4)) % 4);
    initramfs = join(scratch, "initramfs");
    writeFileSync(initramfs, Buffer.concat([archive, gap, cpioArchive(machine.initramfsFiles)]));
  }
  return ["-kernel", machine.kernel, "-initrd", initramfs, "-append", append];
}

/** KVM where this machine's processor has it, else software emulation. */
function acceleration(): string[] {
  try {
    accessSync("/dev/kvm", constants.R_OK | constants.W_OK);
    // a /dev/kvm without the processor's help cannot run an unmodified kernel
    if (/^flags\s*:.*\b(?:vmx|svm)\b/m.test(readFileSync("/proc/cpuinfo", "utf8")))
      return ["-accel", "kvm", "-cpu", "host"];
  } catch {
    // no KVM for us
  }
  // with cmpxchg16b, emulated kernels fail at random
  return ["-accel", "tcg,thread=multi", "-cpu", "qemu64,-cx16"];
}

/** Console output without colours and control sequences. */
export function plain(console: string): string {
  return console.replace(/\x1b\[[0-9;?]*[A-Za-z]|\x1b[()=>][A-Z0-9]?|\r/g, "");
}
