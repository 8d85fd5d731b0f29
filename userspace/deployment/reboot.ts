/** What is asked of systemd. */
import { spawnSync } from "node:child_process";

/** Reboots, and returns at once: systemd stops this program, too. */
export function reboot(): void {
  run("systemd-run", ["--quiet", "--", "systemctl", "reboot", "--message=Initiated by cfsboot"]);
}

/** Starts a unit that does its work when it is stopped, at shutdown. */
export function startUnit(name: string): void {
  run("systemctl", ["start", "--quiet", name]);
}

function run(program: string, args: readonly string[]): void {
  const { error, status, signal, stderr } = spawnSync(program, args, { encoding: "utf8" });
  const line = `run ${program} ${args.join(" ")}`;
  if (error !== undefined) throw new Error(line, { cause: error });
  if (status === 0) return;
  const how = status === null ? `killed by ${signal}` : `exit status ${status}`;
  const said = stderr.trim();
  throw new Error(`${line}: ${how}${said === "" ? "" : `: ${said}`}`);
}
