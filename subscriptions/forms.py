from django import forms


class SubscribeForm(forms.Form):
    email = forms.EmailField(
        max_length=254,
        error_messages={
            "required": "Write an e-mail address.",
            "invalid": "This is not a whole address; it looks like name@example.com.",
            "max_length": "This address is too long.",
        },
    )
