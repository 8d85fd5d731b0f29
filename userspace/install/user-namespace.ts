/** Users other than root make disks in a user namespace, in which they are root: files there can belong to anybody. */
import { spawnSync } from "node:child_process";
import { HintedError } from "../../src/linux/hint.ts";

/** Set for the program that runs in it. */
const MARK = "CFSBOOT_IN_USER_NAMESPACE";
/** The exit status that stands for a signal. */
const KILLED = 1;

/** Whether this program has been run once more, and has said already what it says at first. */
export function isRunAgain(): boolean {
  return process.env[MARK] !== undefined;
}

/**
 * Runs this program once more in a user namespace, if that is needed, and returns its exit status; `undefined` if this is
 * root, or that namespace.
 */
export function runAsRoot(euid: number): number | undefined {
  if (euid === 0 || isRunAgain()) return undefined;
  const node = [process.execPath, ...process.execArgv, ...process.argv.slice(1)];
  const map = ["--map-root-user", "--map-auto", "--"];
  requireMap(map);
  const env = { ...process.env, [MARK]: "1" };
  const { status, error } = spawnSync("unshare", [...map, ...node], { stdio: "inherit", env });
  if (error !== undefined) throw new Error("run unshare", { cause: error });
  return status ?? KILLED;
}

/** Throws if there can be no such namespace: what the program says in it is not to be mistaken for that. */
function requireMap(map: readonly string[]): void {
  const { status, stderr, error } = spawnSync("unshare", [...map, "true"], { encoding: "utf8" });
  if (status === 0) return;
  throw new HintedError(
    "no user namespace can be made, and only root does without",
    "apt install uidmap util-linux; /etc/subuid and /etc/subgid must give this user some IDs",
    { cause: error ?? new Error(stderr.trim() || `unshare: exit status ${status}`) },
  );
}
