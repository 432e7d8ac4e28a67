"""Everything that the orchestrator says, in both languages, in one place. `{...}` are filled by `str.format`."""

from collections.abc import Mapping
from dataclasses import dataclass

from chatapp.flows.orchestrator.vitals import Language


@dataclass(frozen=True, slots=True)
class Texts:
    """One language's texts."""

    language: Language
    yes: str
    no: str
    confirm: str
    confirmed: str
    executed: str
    failed: str
    unknown: str
    cancelled: str
    cancelled_elsewhere: str
    confirmed_elsewhere: str
    expired: str
    too_late_to_cancel: str
    nothing_to_confirm: str
    nothing_to_cancel: str
    confirmed_before: str
    unseen: str
    overtaken: str
    still_open: str
    back_to: str
    hello: str
    not_understood: str
    only_text: str
    too_long: str
    help: str
    language_set: str
    template_declined: str
    check_in: str
    check_in_place: str
    check_in_hint: str
    on_shift: str
    note: str
    note_ask: str
    note_written: str
    note_and: str
    problem: Mapping[str, str]
    problem_drop: str
    problems_dropped: str
    no_shift: str
    finish_ask: str
    finish_write: str
    finish: str
    finish_remarks: str
    first_this: str
    titles: Mapping[str, str]
    summary_open: str
    summary_closed: str
    summary_none: str
    records: tuple[str, str]

    def counted(self, count: int) -> str:
        """Say how many records."""
        return self.records[count != 1].format(count=count)


PT = Texts(
    language="pt",
    yes="Sim",
    no="Não",
    confirm="Confirma? Responda “sim” ou “não”.",
    confirmed="Confirmado, será gravado: {what}",
    executed="Confirmado e gravado: {what}",
    failed="Foi confirmado, mas a gravação falhou: {what}. Avise a coordenação.",
    unknown="Foi confirmado, mas ainda não se sabe se foi gravado: {what}. A coordenação vai verificar.",
    cancelled="Cancelado, nada foi gravado: {what}",
    cancelled_elsewhere="Este pedido já tinha sido cancelado, nada foi gravado: {what}",
    confirmed_elsewhere="Entretanto foi confirmado: {what}",
    expired="O pedido expirou e nada foi gravado: {what}",
    too_late_to_cancel="Já estava confirmado e não pode mais ser cancelado.",
    nothing_to_confirm="Não há nada por confirmar. Diga “ajuda” para ver o que posso fazer.",
    nothing_to_cancel="Não há nada por cancelar.",
    confirmed_before="Não há mais nada por confirmar. O último confirmado: {what}",
    unseen="Sua resposta veio antes desta pergunta, por isso pergunto de novo.",
    overtaken="Depois desta pergunta você recebeu outra mensagem, por isso pergunto de novo.",
    still_open="Continua em aberto ({title}).",
    back_to="Voltando a: {title}.",
    hello="Olá! Diga “ajuda” para ver o que posso fazer.",
    not_understood="Não entendi. Diga “ajuda” para ver o que posso fazer.",
    only_text="Por enquanto só leio mensagens de texto.",
    too_long="São {count} caracteres de texto, e eu aceito até {most}. Envie em partes, por favor.",
    help=(
        "O que você pode dizer:\n"
        "• “cheguei” ou “cheguei, setor UTI”: registra sua chegada\n"
        "• “PA 120x80 FC 80 FR 16 Sat 98 Temp 36,5 HGT 99 dor 2”: registra sinais vitais\n"
        "• “nota: paciente refere melhora”: registra uma nota clínica\n"
        "• “encerrar plantão”: mostra o resumo e encerra\n"
        "• “sim” ou “não”: confirma ou cancela o que eu propuser"
    ),
    language_set="Certo, em português.",
    template_declined="Certo, fica para depois.",
    check_in="Chegada ao plantão em {at}{place}",
    check_in_place=", setor {place}",
    check_in_hint="Se quiser, diga também o setor, por exemplo “setor UTI”.",
    on_shift="Você já está de plantão desde {at}.",
    note="Registro clínico de {at}: {content}",
    note_ask="O que devo registrar? Envie os sinais vitais (por exemplo “PA 120x80”) ou o texto da nota.",
    note_written="Nota: “{note}”",
    note_and="; ",
    problem={
        "range": "“{written}” está fora do possível para {label} ({low} a {high}). Qual é o valor certo?",
        "pressure": "“{written}” está fora do possível para PA (sistólica {low} a {high}, diastólica {low2} a {high2}). "
        "Qual é o valor certo?",
        "order": "Em “{written}” a sistólica não é maior que a diastólica. Qual é o valor certo?",
        "incomplete": "“{written}” está incompleto: a PA tem dois valores, por exemplo “PA 120x80”. Quais são?",
        "twice": "A mensagem traz dois valores diferentes para {label}. Qual é o certo?",
    },
    problem_drop="Responda com o valor, ou “não” para deixar {label} de fora.",
    problems_dropped="Certo, sem {label}.",
    no_shift="Não há plantão em andamento. Diga “cheguei” para começar um.",
    finish_ask="{summary}\n\nQuer acrescentar algo antes de encerrar? Escreva o que falta, ou responda “não”.",
    finish_write="Pode escrever.",
    finish="Encerramento do plantão de {started} a {finished}, {records}{remarks}",
    finish_remarks=". Observações: “{remarks}”",
    first_this="Antes disso, falta responder o que está em aberto.",
    titles={"shift_check_in": "chegada", "clinical_note": "registro clínico", "finish_shift": "encerramento do plantão"},
    summary_open="Plantão em andamento: {records}",
    summary_closed="Plantão encerrado: {records}",
    summary_none="Sem plantão em andamento",
    records=("{count} registro", "{count} registros"),
)

EN = Texts(
    language="en",
    yes="Yes",
    no="No",
    confirm="Do you confirm? Answer “yes” or “no”.",
    confirmed="Confirmed, it will be written: {what}",
    executed="Confirmed and written: {what}",
    failed="It was confirmed, but writing it failed: {what}. Please tell your coordinator.",
    unknown="It was confirmed, but whether it was written is not known yet: {what}. Your coordinator will check.",
    cancelled="Cancelled, nothing was written: {what}",
    cancelled_elsewhere="This had been cancelled before, nothing was written: {what}",
    confirmed_elsewhere="Meanwhile this was confirmed: {what}",
    expired="The request has expired and nothing was written: {what}",
    too_late_to_cancel="It was confirmed before and can no longer be cancelled.",
    nothing_to_confirm="There is nothing to confirm. Say “help” to see what I can do.",
    nothing_to_cancel="There is nothing to cancel.",
    confirmed_before="There is nothing left to confirm. The last that was confirmed: {what}",
    unseen="Your answer came before this question, so I ask again.",
    overtaken="You were sent another message after this question, so I ask again.",
    still_open="Still open ({title}).",
    back_to="Back to: {title}.",
    hello="Hello! Say “help” to see what I can do.",
    not_understood="I did not understand. Say “help” to see what I can do.",
    only_text="For now I read text messages only.",
    too_long="This is {count} characters of text, and I take up to {most}. Please send it in parts.",
    help=(
        "What you can say:\n"
        "• “I'm here” or “I'm here, ward ICU”: records your arrival\n"
        "• “BP 120/80 HR 80 RR 16 SpO2 98 Temp 36.5 glucose 99 pain 2”: records vital signs\n"
        "• “note: patient feels better”: records a clinical note\n"
        "• “finish shift”: shows the summary and ends the shift\n"
        "• “yes” or “no”: confirms or cancels what I propose"
    ),
    language_set="All right, in English.",
    template_declined="All right, later then.",
    check_in="Arrival for the shift at {at}{place}",
    check_in_place=", ward {place}",
    check_in_hint="You may also tell the ward, for example “ward ICU”.",
    on_shift="You are on shift already, since {at}.",
    note="Clinical record of {at}: {content}",
    note_ask="What shall I record? Send the vital signs (for example “BP 120/80”) or the text of the note.",
    note_written="Note: “{note}”",
    note_and="; ",
    problem={
        "range": "“{written}” is not possible for {label} ({low} to {high}). What is the right value?",
        "pressure": "“{written}” is not possible for BP (systolic {low} to {high}, diastolic {low2} to {high2}). "
        "What is the right value?",
        "order": "In “{written}” the systolic is not above the diastolic. What is the right value?",
        "incomplete": "“{written}” is not complete: a BP has two values, for example “BP 120/80”. Which are they?",
        "twice": "The message has two different values for {label}. Which is right?",
    },
    problem_drop="Answer with the value, or “no” to leave {label} out.",
    problems_dropped="All right, without {label}.",
    no_shift="No shift has begun. Say “I'm here” to begin one.",
    finish_ask="{summary}\n\nIs there anything to add before it ends? Write it, or answer “no”.",
    finish_write="Go ahead.",
    finish="End of the shift from {started} to {finished}, {records}{remarks}",
    finish_remarks=". Remarks: “{remarks}”",
    first_this="Before that, what is open needs an answer.",
    titles={"shift_check_in": "arrival", "clinical_note": "clinical record", "finish_shift": "end of the shift"},
    summary_open="Shift in progress: {records}",
    summary_closed="Shift finished: {records}",
    summary_none="No shift in progress",
    records=("{count} record", "{count} records"),
)

TEXTS: Mapping[Language, Texts] = {"pt": PT, "en": EN}


def at(iso: str) -> str:
    """Show a time (RFC 3339 UTC) to the minute, e.g. `2026-11-21 07:02 UTC`."""
    return f"{iso[:10]} {iso[11:16]} UTC"
