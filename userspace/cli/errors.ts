/** Errors on their way to a person: one line that says what failed and why, and what to do about it. */
import { getSystemErrorMap } from "node:util";

/** Wrong usage that the option parser cannot see. Ends in exit status 2. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

export interface Description {
  /** One line: the messages from the outermost error to its last cause, joined with ": ". */
  readonly message: string;
  /** The `hint` properties along the chain, each once. */
  readonly hints: readonly string[];
  /** For `--verbose`: every error of the chain with the place where it was made. */
  readonly stacks: readonly string[];
}

const NO_SPACE =
  "make room in the file system (df, df -i); cfsboot gc, or cfsboot repo gc, removes what nothing needs";
const MAX_CAUSES = 20;
/** Of one error of the chain, in characters. */
const MAX_MESSAGE = 2000;

/** Describes an error and its causes. */
export function describeError(error: unknown): Description {
  const messages: string[] = [];
  const hints: string[] = [];
  const stacks: string[] = [];
  for (const link of chain(error)) {
    const message = messageOf(link);
    // some wrap an error by repeating its message
    if (message !== "" && !messages.at(-1)?.endsWith(message)) messages.push(message);
    const hint = hintOf(link);
    if (typeof hint === "string" && hint !== "" && !hints.includes(hint)) hints.push(hint);
    stacks.push(link instanceof Error && link.stack !== undefined ? link.stack : String(link));
  }
  return { message: messages.join(": ") || "unknown error", hints, stacks };
}

function hintOf(error: unknown): unknown {
  if (!(error instanceof Error)) return undefined;
  if ("hint" in error) return error.hint;
  return "code" in error && error.code === "ENOSPC" ? NO_SPACE : undefined;
}

/** Whether an error is of the kind that only a fault in the program makes. */
export function isInternal(error: unknown): boolean {
  return (
    !(error instanceof Error) ||
    ((error instanceof TypeError ||
      error instanceof RangeError ||
      error instanceof ReferenceError) &&
      !("code" in error)) // Node's and the system's errors say what was wrong with the argument
  );
}

/** Whether it is for want of rights. */
export function isForbidden(error: unknown): boolean {
  return chain(error).some((link) => {
    const { code } = link instanceof Error ? (link as NodeJS.ErrnoException) : {};
    return code === "EACCES" || code === "EPERM";
  });
}

/** What the program ends with because of an error, if that says it. */
export function exitStatusOf(error: unknown): number | undefined {
  for (const link of chain(error)) {
    if (link instanceof Error && "exitStatus" in link && typeof link.exitStatus === "number") {
      return link.exitStatus;
    }
  }
  return undefined;
}

function chain(error: unknown): unknown[] {
  const links: unknown[] = [];
  for (let link = error; link !== undefined && links.length < MAX_CAUSES; ) {
    links.push(link);
    if (link instanceof AggregateError && link.cause === undefined) link = link.errors[0];
    else link = link instanceof Error ? link.cause : undefined;
  }
  return links;
}

function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return oneLine(String(error));
  const { code, errno, syscall, path } = error as NodeJS.ErrnoException;
  // "ENOENT: no such file or directory, open 'x'": first what, then why
  const node = /^[A-Z0-9]+: (.*), \w+(?: '.*')?$/s.exec(error.message);
  if (code !== undefined && syscall !== undefined && node !== null) {
    return oneLine(`${syscall}${path === undefined ? "" : ` ${path}`}: ${node[1]}`);
  }
  // "connect ECONNREFUSED 127.0.0.1:443", "getaddrinfo ENOTFOUND registry.example": just these names
  const start = `${syscall} ${code}`;
  if (code !== undefined && errno !== undefined && error.message.startsWith(start)) {
    const why = code === "ENOTFOUND" ? "no such host" : getSystemErrorMap().get(errno)?.[1];
    if (why !== undefined) {
      return oneLine(`${syscall}${error.message.slice(start.length)}: ${why}`);
    }
  }
  if (error.message !== "") return oneLine(error.message);
  return error instanceof AggregateError ? "" : (code ?? error.name);
}

/** Messages quote what they are about, which may be of any length. */
function oneLine(text: string): string {
  const shown = text.length > MAX_MESSAGE ? `${text.slice(0, MAX_MESSAGE)}…` : text;
  return shown.replaceAll(/\s*[\r\n]\s*/g, " ").trim();
}
