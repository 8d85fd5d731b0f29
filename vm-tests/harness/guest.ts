/**
 * Asking a booted system questions, without changing its image: a unit that runs shell commands comes in as a system
 * credential (systemd.system-credentials(7), through SMBIOS), the answers go out on a serial port of their own.
 */

/** Shell commands by name. */
export type Checks = Readonly<Record<string, string>>;

export interface Answer {
  /** Exit status. */
  readonly status: number;
  /** What the command wrote to stdout and stderr, without the newline at the end. */
  readonly output: string;
}

/** How far the system boots: `basic` runs the checks after basic.target and starts nothing else. */
export type Target = "basic" | "multi-user";

const UNIT = "cfsboot-check.service";
/** The serial port that the answers are written to. */
const PORT = "/dev/ttyS1";
/** No command's output has this in it. */
const MARK = "@@cfsboot@@";

/** The end of a check run: `off` does not wait for services, `clean` shuts down as an administrator would. */
export type PowerOff = "off" | "clean";

/** Credentials, by name, that make the guest answer `checks` and power off. */
export function checkCredentials(
  checks: Checks,
  target: Target,
  powerOff: PowerOff,
): Record<string, string> {
  const script = [
    `stty -F ${PORT} raw -echo`,
    `exec >${PORT} 2>&1 </dev/null`,
    ...Object.entries(checks).flatMap(([name, command]) => [
      `echo '${MARK}begin ${name}'`,
      // through a pipe: many programs look at a terminal's width, and there is none
      `( ${command}\n) 2>&1 | cat`,
      // biome-ignore lint/suspicious/noTemplateCurlyInString: the shell's
      "status=${PIPESTATUS[0]}",
      `printf '\\n${MARK}end %s\\n' "$status"`,
    ]),
    `echo '${MARK}done'`,
    // closing the port waits until all is out
    "exec >/dev/null 2>&1; sync",
    powerOff === "clean" ? "systemctl --no-block poweroff" : "systemctl poweroff -ff",
  ].join("\n");
  const unit = [
    "[Unit]",
    "Description=Checks of a test boot",
    ...(target === "multi-user" ? ["After=multi-user.target"] : []),
    "[Service]",
    "Type=oneshot",
    "LoadCredential=cfsboot.check",
    "ExecStart=/bin/bash %d/cfsboot.check",
    "",
  ].join("\n");
  return {
    [`systemd.extra-unit.${UNIT}`]: unit,
    "cfsboot.check": script,
    // not every boot loader takes kernel arguments from the firmware
    ...(target === "multi-user" && {
      "systemd.unit-dropin.multi-user.target": `[Unit]\nWants=${UNIT}\n`,
    }),
  };
}

/** Kernel arguments that go with it. */
export function checkArguments(target: Target): string[] {
  return target === "basic"
    ? // and without the jobs of a first boot: caches of the linker, of hardware, of the journal
      [`systemd.unit=${UNIT}`, "systemd.condition_needs_update=no"]
    : ["systemd.unit=multi-user.target"];
}

export const SHELL_UNIT = "cfsboot-shell.service";

/** Credentials, by name, that put a root shell on the console; when it ends, the machine powers off. */
export function shellCredentials(): Record<string, string> {
  const unit = [
    "[Unit]",
    "Description=Root shell on the console",
    "After=multi-user.target",
    "Conflicts=serial-getty@ttyS0.service",
    "[Service]",
    "ExecStart=/bin/bash -l",
    "ExecStopPost=systemctl --no-block poweroff",
    "WorkingDirectory=/root",
    "Environment=HOME=/root TERM=linux",
    "StandardInput=tty",
    "StandardOutput=tty",
    "StandardError=tty",
    "TTYPath=/dev/ttyS0",
    "TTYReset=yes",
    "",
  ].join("\n");
  return { [`systemd.extra-unit.${SHELL_UNIT}`]: unit };
}

export interface Report {
  readonly answers: Readonly<Record<string, Answer>>;
  /** Whether all commands ran. */
  readonly complete: boolean;
}

/** Reads what came out of the serial port. */
export function parseReport(text: string): Report {
  const answers: Record<string, Answer> = {};
  let complete = false;
  let name: string | undefined;
  let lines: string[] = [];
  for (const line of text.replaceAll("\r", "").split("\n")) {
    const [, mark, rest = ""] = line.match(/^@@cfsboot@@(begin|end|done) ?(.*)$/) ?? [];
    if (mark === "begin") {
      name = rest;
      lines = [];
    } else if (mark === "end" && name !== undefined) {
      answers[name] = { status: Number(rest), output: lines.join("\n").trimEnd() };
      name = undefined;
    } else if (mark === "done") complete = true;
    else lines.push(line);
  }
  return { answers, complete };
}
