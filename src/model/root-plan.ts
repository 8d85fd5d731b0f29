/**
 * What the kernel command line and `setup-root-conf.toml` together ask for: plain data, decided before anything is
 * opened or mounted.
 */
import {
  type ComposefsArgument,
  mountsExtra,
  parseComposefsArguments,
  parseVolatile,
} from "../formats/cmdline.ts";
import type { DirectoryMount, SetupRootConf } from "../formats/setup-root-conf.ts";

export interface RootPlan {
  /** The images to try, best first: the first one that the repository has is booted. Never empty. */
  readonly candidates: readonly [ComposefsArgument, ...ComposefsArgument[]];
  /** The whole root writable, changes lost at reboot. */
  readonly transient: boolean;
  readonly etc: DirectoryMount;
  readonly var: DirectoryMount;
}

/** Throws if an argument is malformed or there is none. */
export function planRoot(cmdline: string, conf: SetupRootConf): RootPlan {
  const [first, ...rest] = parseComposefsArguments(cmdline);
  if (first === undefined) {
    throw new Error("no composefs= or composefs.digest= on the kernel command line");
  }
  // systemd mounts these /var itself, which it does not where something is mounted already, unless the image's makers want
  // something else.
  const bySystemd =
    ["state", "overlay"].includes(parseVolatile(cmdline)) || mountsExtra(cmdline, "/var");
  return {
    candidates: [first, ...rest],
    transient: conf.rootTransient,
    etc: conf.etc ?? "bind",
    var: conf.var ?? (bySystemd ? "none" : "bind"),
  };
}

/** The source of the root mount; programs in the running system read from it which deployment they run in. */
export function rootSource(digest: string, transient: boolean): string {
  return transient ? `transient:composefs=${digest}` : `composefs:${digest}`;
}

/** Where a deployment keeps its state, below the physical root. */
export function statePath(digest: string): string {
  return `state/deploy/${digest}`;
}
