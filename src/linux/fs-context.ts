/**
 * Mounts by the kernel's file system contexts (fsopen(2)): what is configured step by step, and what the kernel says
 * about it. A context is a queue of messages too; they are part of the error when a step fails.
 */
import {
  FSCONFIG_CMD_CREATE,
  FSCONFIG_SET_FD,
  FSCONFIG_SET_FLAG,
  FSCONFIG_SET_STRING,
  FSMOUNT_CLOEXEC,
  FSOPEN_CLOEXEC,
} from "./constants.ts";
import { type Fd, type Linux, LinuxError } from "./linux.ts";

/** One value of a mount: a flag (`true`), a string, or an open file. */
export type FsSetting = readonly [key: string, value: true | string | { readonly fd: Fd }];

/** A step that the kernel refused. `code` is the errno's name; the message holds what the kernel said in words. */
export class FsContextError extends Error {
  readonly code: string;

  constructor(fsname: string, step: string, said: readonly string[], cause: LinuxError) {
    super(`${fsname}: ${said.length === 0 ? step : `kernel: ${said.join("; ")}`}`, { cause });
    this.code = cause.code;
  }
}

/** Whether `error` is a refusal with one of these errno names. */
export function isRefused(error: unknown, ...codes: string[]): error is FsContextError {
  return error instanceof FsContextError && codes.includes(error.code);
}

/**
 * Creates a file system with these settings, in their order, and returns the detached mount. `attributes` are
 * `MOUNT_ATTR_*`. Throws `FsContextError`.
 */
export function createMount(
  linux: Linux,
  fsname: string,
  settings: readonly FsSetting[],
  attributes: number,
): Fd {
  let context = -1;
  const step = <T>(name: string, act: () => T): T => {
    try {
      return act();
    } catch (error) {
      if (!(error instanceof LinuxError)) throw error;
      throw new FsContextError(fsname, name, context < 0 ? [] : messages(linux, context), error);
    }
  };
  context = step("open", () => linux.fsopen(fsname, FSOPEN_CLOEXEC));
  try {
    for (const [key, value] of settings) {
      step(`set ${key}`, () => {
        if (value === true) linux.fsconfig(context, FSCONFIG_SET_FLAG, key, null, 0);
        else if (typeof value === "string")
          linux.fsconfig(context, FSCONFIG_SET_STRING, key, value, 0);
        else linux.fsconfig(context, FSCONFIG_SET_FD, key, null, value.fd);
      });
    }
    step("create", () => linux.fsconfig(context, FSCONFIG_CMD_CREATE, null, null, 0));
    return step("mount", () => linux.fsmount(context, FSMOUNT_CLOEXEC, attributes));
  } finally {
    linux.close(context);
  }
}

/**
 * Whether the kernel's `fsname` checks options as they are set. Where it does not (overlayfs before Linux 6.5), it
 * takes any option and only fails later, without a word.
 */
export function checksOptions(linux: Linux, fsname: string): boolean {
  const context = linux.fsopen(fsname, FSOPEN_CLOEXEC);
  try {
    linux.fsconfig(context, FSCONFIG_SET_FLAG, "unsupported", null, 0);
    return false;
  } catch {
    return true;
  } finally {
    linux.close(context);
  }
}

/** The messages that wait in a context, without their `e `, `w `, `i ` (error, warning, information). */
function messages(linux: Linux, context: Fd): string[] {
  const out: string[] = [];
  const buffer = new Uint8Array(1024);
  // Each read gives one message; ENODATA ends. The bound is only there because the kernel's is not ours to know.
  while (out.length < 16) {
    try {
      const length = linux.read(context, buffer);
      if (length === 0) break;
      const line = String.fromCharCode(...buffer.subarray(0, length)).trim();
      out.push(line.replace(/^[ewi] /, ""));
    } catch {
      break;
    }
  }
  return out;
}
