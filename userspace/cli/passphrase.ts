/** Passphrases for disks: from a file, or from whoever sits at the terminal. Never from an argument, which all can read. */
import { readFileSync } from "node:fs";
import { HintedError } from "../../src/linux/hint.ts";

/** cryptsetup(8) takes no more from a terminal. */
const MAX_LENGTH = 512;

/** The passphrase in a file, whose end of line is none of it; `-`: standard input. */
export function readPassphrase(path: string): Uint8Array {
  const data = readFileSync(path === "-" ? 0 : path);
  return checked(data.at(-1) === 0x0a ? data.subarray(0, -1) : data, path);
}

/** Asks for a new one, twice. */
export async function askPassphrase(what: string): Promise<Uint8Array> {
  if (!process.stdin.isTTY) {
    throw new HintedError(
      "there is no terminal to ask for a passphrase",
      "--passphrase-file names a file that has it",
    );
  }
  const first = await ask(`New passphrase for ${what}: `);
  const passphrase = checked(Buffer.from(first), "the passphrase");
  if ((await ask("The same once more: ")) !== first) throw new Error("the passphrases differ");
  return passphrase;
}

function checked(passphrase: Uint8Array, where: string): Uint8Array {
  const { length } = passphrase;
  if (length === 0 || length > MAX_LENGTH) {
    throw new Error(`${where}: ${length} bytes, expected a passphrase of 1 to ${MAX_LENGTH}`);
  }
  if (passphrase.some((byte) => byte === 0x0a || byte === 0)) {
    throw new Error(`${where}: expected one line, which can be typed at boot`);
  }
  return passphrase;
}

/** One line, that the terminal does not show. */
function ask(prompt: string): Promise<string> {
  const { stdin, stderr } = process;
  stderr.write(prompt);
  stdin.setRawMode(true);
  stdin.setEncoding("utf8");
  return new Promise((resolve, reject) => {
    let line = "";
    const stop = (end: () => void) => {
      stdin.off("data", read);
      stdin.pause();
      stdin.setRawMode(false);
      stderr.write("\n");
      end();
    };
    const read = (text: string) => {
      for (const [at, char] of [...text].entries()) {
        if (char === "\r" || char === "\n") {
          stop(() => resolve(line));
          const rest = [...text].slice(at + 1).join("");
          if (rest !== "") stdin.unshift(rest, "utf8"); // for the next question
          return;
        }
        if (char === "\x03" || char === "\x04") return stop(() => reject(new Error("interrupted")));
        if (char === "\x7f" || char === "\b") line = [...line].slice(0, -1).join("");
        else if (char === "\x15") line = "";
        else line += char;
      }
    };
    stdin.on("data", read);
    stdin.resume();
  });
}
