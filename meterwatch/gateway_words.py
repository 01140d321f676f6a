"""What ``meterwatch gateway`` says, in each language.

Faults are found in rooms below, in English. Here those that people meet are known by their
shape, as in :mod:`meterwatch.refusal_words`; one that is not known stays English.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import Final

from collector.errors import ConfigurationError, Fault, TemporaryError

WORDS: Final[dict[str, dict[str, str]]] = {
    "en": {
        "made": "{}: a credential was made. It is shown this once and kept nowhere.",
        "renewed": "{}: a new credential was made. It is shown this once and kept nowhere.",
        "token": "  HTTPS   Authorization: Bearer {token}\n"
        "  MQTT    user      {user}\n"
        "          password  {token}",
        "grace": "The old one stays valid for {} beside it.",
        "afterwards": "The broker knows no dates: after that run (or let cron run daily): {}",
        "key": "The key is in these files and nowhere else: take them to the gateway, then delete"
        " them here.",
        "revoked": "{}: all its credentials have ended.",
        "restart": "A connection that it has open by its certificate has lost every right once the"
        " broker has read its files, but stays open: restart the broker to end it before you give"
        " the gateway a new one.",
        "ca": "The authority is {}, until {}. Whoever has {} can be any gateway: keep a copy of it"
        " where nobody else gets it.",
        "server": "For our own HTTPS or MQTT listener, in meterwatch.toml (paths that do not begin"
        " with / are within the fleet folder):\n"
        '  cert_file = "{}"\n  key_file = "{}"\n'
        "The program's user must be able to read the key. Who connects is given {}.",
        "no_broker": "meterwatch.toml has no table [broker]: a broker knows nothing of it yet,"
        " our own HTTPS and MQTT listener do.",
        "note": "note: {}",
        "again": "{fault}\nThe credentials are as told above, the broker does not know it yet:"
        " mend this, then run: {again}",
        "reload": "The broker's files are written. Have it read them: systemctl reload mosquitto",
        # The list.
        "token_": "token",
        "certificate_": "certificate",
        "user": "user {}",
        "since": "since {}",
        "until": "until {}",
        "rotated": "last rotated {}",
        "in_force": "in force",
        "soon": "in force, EXPIRES SOON",
        "ended": "ran out {}",
        "was_revoked": "revoked {}",
        "none": "has no credential",
        "by_hand": "has a password at the broker that was written by hand",
        "gone": "NOT IN THE REGISTRY",
        "stale": "run out, and still in the broker's file: {} -> meterwatch gateway broker {}",
        "nobody": "there is no gateway",
    },
    "zh": {
        "made": "{}：凭证已生成。只显示这一次，不在任何地方保存。",
        "renewed": "{}：新凭证已生成。只显示这一次，不在任何地方保存。",
        "token": "  HTTPS   Authorization: Bearer {token}\n"
        "  MQTT    用户  {user}\n"
        "          密码  {token}",
        "grace": "旧凭证在 {}内仍然有效。",
        "afterwards": "消息服务器不认日期：到期后请运行（或由 cron 每天运行）：{}",
        "key": "密钥只在这些文件中：拷到网关后请在本机删除。",
        "revoked": "{}：全部凭证已吊销。",
        "restart": "它用证书建立的现有连接，在消息服务器重读文件后已无任何权限，但不会断开："
        "发新凭证之前请重启消息服务器。",
        "ca": "证书机构为 {}，有效期至 {}。持有 {} 者可冒充任何网关：请妥善备份，勿交他人。",
        "server": "用于本程序的 HTTPS 或 MQTT 监听时，写入 meterwatch.toml（不以 / 开头的路径"
        "在 meterwatch.toml 所在文件夹内）：\n"
        '  cert_file = "{}"\n  key_file = "{}"\n'
        "运行本程序的用户须能读取密钥。请把 {} 交给连接方。",
        "no_broker": "meterwatch.toml 中没有 [broker]：消息服务器尚不知道，本程序的 HTTPS 和 MQTT"
        " 监听已知道。",
        "note": "注意：{}",
        "again": "{fault}\n凭证已如上变更，但消息服务器尚不知道：处理后请运行：{again}",
        "reload": "消息服务器的文件已写好。请让它重读：systemctl reload mosquitto",
        "token_": "令牌",
        "certificate_": "证书",
        "user": "用户 {}",
        "since": "自 {}",
        "until": "至 {}",
        "rotated": "上次更换 {}",
        "in_force": "有效",
        "soon": "有效，即将到期",
        "ended": "已于 {} 到期",
        "was_revoked": "已于 {} 吊销",
        "none": "没有凭证",
        "by_hand": "消息服务器中有人工写入的密码",
        "gone": "台账中没有",
        "stale": "已到期但仍在消息服务器的文件中：{} -> meterwatch gateway broker {}",
        "nobody": "没有网关",
    },
}

_UNITS: Final = {
    "en": ((86_400_000, "day"), (3_600_000, "hour"), (60_000, "minute"), (1000, "second")),
    "zh": ((86_400_000, "天"), (3_600_000, "小时"), (60_000, "分钟"), (1000, "秒")),
}
_FAULTS: Final = tuple(
    (re.compile(shape), told)
    for shape, told in (
        (r"^gateway (\S+)$", r"网关 \1"),
        (r"^is not in the registry$", "台账中没有"),
        (r"^enter it in its site's file first: (.*)$", r"请先写入所属单位的文件：\1"),
        (r"^did you mean (.*)\?$", r"是不是 \1？"),
        (r"^has a token that is in force$", "已有有效的令牌"),
        (r"^has a certificate that is in force$", "已有有效的证书"),
        (r"^has no token in force$", "没有有效的令牌"),
        (r"^has no certificate in force$", "没有有效的证书"),
        (r"^has no credential in force$", "没有有效的凭证"),
        (r"^run: ", "请运行："),
        (r"^(\".*\") is no duration$", r"\1 不是时长"),
        (r"^write \"12h\", \"7d\", \"365d\"$", '请写 "12h"、"7d"、"365d"'),
        (r"^there is no table \[broker\]$", "没有 [broker]"),
        (r"^add password_file and acl_file: see (\S+)$",
         r"请加入 password_file 和 acl_file：见 \1"),
        (r"^there is no authority$", "还没有证书机构"),
        (r"^make one with: ", "请先运行："),
        (r"^is there already$", "已存在"),
        (r"^move it away, or name another folder: ", "请移走，或另指文件夹："),
        (r"^move it away first; what it has signed is then of no authority$",
         "请先移走；它签发的证书随之失效"),
        (r"^name another folder: ", "请另指文件夹："),
        (r"^is neither the name of a host nor an address$", "既不是主机名也不是地址"),
        (r"^is not the key of (\S+)$", r"不是 \1 的密钥"),
        (r"^bring back its last copy$", "请恢复其最近的备份"),
        (r"^bring back the last copy of it$", "请恢复其最近的备份"),
        (r"^there is no folder (\S+)$", r"没有文件夹 \1"),
        (r"\bcannot be read: ", "无法读取："),
        (r"\bcannot be written(?:: )?", "无法写入 "),
        (r"^run it as root, or mend \[broker\]$", "请以 root 运行，或更正 [broker]"),
        (r"^run it as root$", "请以 root 运行"),
        (r"^mend the file by hand; nothing of it was changed$", "请人工修复该文件；未作任何改动"),
        (r"\bthe broker was not told: ", "未能通知消息服务器："),
    )
)  # fmt: skip


def lasting(ms: int, lang: str) -> str:
    """A span in the largest unit of which it is a whole number."""
    size, unit = next(one for one in _UNITS[lang] if ms % one[0] == 0 or one[0] == 1000)
    count = ms / size
    return f"{count:g} {unit}{'s' if lang == 'en' and count != 1 else ''}"


@contextlib.contextmanager
def spoken(lang: str) -> Iterator[None]:
    """Faults that are raised inside, in this language."""
    try:
        yield
    except ConfigurationError as error:
        told = [Fault(_in(one.file, lang), one.line, _in(one.what, lang), _in(one.todo, lang))
                for one in error.faults]  # fmt: skip
        raise ConfigurationError(told) from error
    except TemporaryError as error:
        raise TemporaryError(_in(str(error), lang), error.retry_after) from error


def _in(text: str, lang: str) -> str:
    if lang == "zh":
        for shape, told in _FAULTS:
            text = shape.sub(told, text)
    return text
